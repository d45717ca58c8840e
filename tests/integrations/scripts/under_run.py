"""A script for `phasescope run`, and for Python alone. Its first argument says what it does.

It knows nothing of phasescope, and must not differ from the same script without it.
"""
# mypy: ignore-errors

import multiprocessing
import os
import signal
import sys


def told():
    main = sys.modules["__main__"]
    print(sys.argv, sys.path[0], __name__, __file__, __package__, __spec__ and __spec__.name)
    print(sorted(name for name in vars(main) if name.startswith("__")), main.__dict__ is globals())


def fail():
    raise ValueError("of its own")


def fails_below():
    try:
        fail()
    except ValueError as error:
        raise RuntimeError("because of it") from error


def child(number):
    return number * 2, __name__


def spawns():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(child, [1, 2]))


def interrupts():
    os.kill(os.getpid(), signal.SIGINT)


def trains(fail_at=None):
    import torch

    class Numbers(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            if index == fail_at:
                raise ValueError("in the data")
            return torch.full((3,), float(index))

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    optimizer = torch.optim.Adam(model.parameters())
    if fail_at is None:  # after its optimizer was made, as most do
        model = torch.compile(model, backend="aot_eager", fullgraph=True)
    criterion = torch.nn.MSELoss()
    for _ in range(2):
        for batch in torch.utils.data.DataLoader(Numbers(), batch_size=2):
            criterion(model(batch), torch.ones(2, 1)).backward()
            optimizer.step()
            optimizer.zero_grad()
    print([value.hex() for parameter in model.parameters() for value in parameter.flatten().tolist()])


def instruments():
    import torch
    from phasescope.integrations.torch import instrument

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with instrument(model, optimizer):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()


def has_phases_of_its_own():
    import torch

    from phasescope import phase

    model, optimizer = trainable()
    for _ in range(2):
        with phase("round"):
            for inputs in torch.utils.data.DataLoader(torch.ones(4, 3), batch_size=2):
                with phase("mine"):
                    model(inputs).sum().backward()
                    optimizer.step()
        with phase("validation"), torch.no_grad():
            model(torch.ones(1, 3))


def has_phases_of_its_own_later():
    import torch

    model, optimizer = trainable()
    for inputs in torch.utils.data.DataLoader(torch.ones(2, 3), batch_size=2):
        model(inputs).sum().backward()
        optimizer.step()
    import phasescope

    with phasescope.phase("later"):
        model(inputs).sum().backward()


def instruments_and_then_not():
    import torch
    from phasescope.integrations.torch import instrument

    model, optimizer = trainable()
    other = torch.nn.Linear(3, 1)
    loader = torch.utils.data.DataLoader(torch.ones(2, 3), batch_size=2)
    with instrument(model, optimizer, loader) as marked:
        for inputs in marked.loader:
            other(inputs)
            model(inputs).sum().backward()
            optimizer.step()
    model(inputs).sum().backward()


def trains_before_lightning():
    model, optimizer = trainable()
    import torch

    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    trains_in_lightning()


def fetches_in_a_thread():
    import queue
    import threading

    import torch

    model, optimizer = trainable()
    batches = queue.Queue(1)

    def fetch():
        for inputs in torch.utils.data.DataLoader(torch.ones(4, 3), batch_size=2):
            batches.put(inputs)
        batches.put(None)

    threading.Thread(target=fetch).start()
    while (inputs := batches.get()) is not None:
        model(inputs).sum().backward()
        optimizer.step()


def saves():
    """Everything that a training leaves, as text: the same with and without `run`."""
    import copy
    import hashlib
    import io

    import torch

    def saved(save, *what):
        file = io.BytesIO()
        save(*what, file)
        return hashlib.sha256(file.getvalue()).hexdigest()

    torch.manual_seed(0)
    model, optimizer = trainable()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for inputs in torch.utils.data.DataLoader(torch.ones(4, 3), batch_size=2):
        output = model(inputs)
        output.sum().backward()
        optimizer.step()
        schedule.step()
    whole = [model, copy.deepcopy(model), optimizer, copy.deepcopy(optimizer), output.detach(), model[0].weight]
    for each in [*whole, model.state_dict(), optimizer.state_dict(), schedule.state_dict()]:
        print(type(each).__name__, saved(torch.save, each))
    print(sorted(vars(model)), sorted(vars(optimizer)), vars(model[0].weight))
    print(saved(torch.jit.save, torch.jit.script(model)))
    print(torch.fx.symbolic_trace(model).code)
    for strict in (False, True):
        print(torch.export.export(model, (torch.ones(1, 3),), strict=strict))


def trainable():
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def exits_with(code):
    sys.exit(code)


def is_a_rank():
    print(os.environ["RANK"], sys.argv[2:])


def trains_in_lightning():
    import logging
    import tempfile
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    import lightning.pytorch as pl
    import torch

    class Net(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch, index):
            return self(batch).sum()

        def forward(self, batch):
            return self.layer(batch)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    loader = torch.utils.data.DataLoader(torch.ones(2, 2), batch_size=2)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    where = tempfile.mkdtemp(dir=".")
    pl.Trainer(accelerator="cpu", max_epochs=1, enable_checkpointing=False, default_root_dir=where, **quiet).fit(
        Net(), loader
    )


def trains_with_transformers():
    import tempfile
    import warnings

    warnings.simplefilter("ignore")
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = [{"input_ids": torch.arange(8), "labels": torch.arange(8)}] * 2
    options = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "save_strategy": "no", "num_train_epochs": 1}
    arguments = TrainingArguments(tempfile.mkdtemp(dir="."), **options)
    Trainer(model, arguments, train_dataset=data, optimizers=(optimizer, None)).train()


def trains_in_keras():
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ["KERAS_HOME"] = "."
    import keras
    import numpy

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(numpy.ones((2, 2)), numpy.ones((2, 1)), batch_size=2, epochs=1, verbose=0)


if __name__ == "__main__":
    told()
    name, *numbers = sys.argv[1].split(":")
    globals()[name](*(int(number) if number.isdigit() else number for number in numbers))
