"""Save a model and its optimizer in every way that a framework knows, in the middle of a training.

`saves.py torch|trainers|keras plain|marked` writes the files into the directory that it stands in: plain without us,
which is also what `phasescope run` gets to run, marked with `instrument` or a callback. `saves.py GROUP loads FOLDER
...` is a process that cannot import phasescope: it loads each file and tells, for each folder, what it computes.
"""
# mypy: ignore-errors

import contextlib
import copy
import io
import json
import logging
import os
import pickle
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
os.environ["KERAS_BACKEND"] = "tensorflow"

_ways = {"torch": {}, "trainers": {}, "keras": {}}


def way(group):
    """Register a function that saves, under its name."""

    def registered(function):
        _ways[group][function.__name__] = function
        return function

    return registered


def net():
    """The model's class has to be found by its name: this file is `__main__` in one process only."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))


def trained(marked):
    """A model, its optimizer and its schedule after two steps; where told, marked and with a session that runs."""
    import torch

    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    if marked:
        from phasescope.integrations.torch import instrument

        import phasescope

        phasescope.start()
        instrument(model, optimizer, depth=2)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(2, 4)).square().mean().backward()
        optimizer.step()
        schedule.step()
    return model, optimizer, schedule


@way("torch")
def whole(model, optimizer, schedule):
    import torch

    torch.save(model, "model.pt")
    torch.save(optimizer, "optimizer.pt")
    torch.save({"model": model, "optimizer": optimizer, "schedule": schedule}, "all.pt")
    torch.save(model, "model-old.pt", _use_new_zipfile_serialization=False)


@way("torch")
def states(model, optimizer, schedule):
    import torch

    torch.save(model.state_dict(), "model-state.pt")
    torch.save(optimizer.state_dict(), "optimizer-state.pt")
    torch.save(schedule.state_dict(), "schedule-state.pt")


@way("torch")
def copies(model, optimizer, schedule):
    import torch

    torch.save(copy.deepcopy(model), "deep.pt")
    torch.save(copy.copy(model), "shallow.pt")
    torch.save(copy.deepcopy({"model": model, "optimizer": optimizer}), "deep-both.pt")
    torch.save(torch.optim.swa_utils.AveragedModel(model).module, "average.pt")


@way("torch")
def pickles(model, optimizer, schedule):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        Path(f"model-{protocol}.pickle").write_bytes(pickle.dumps(model, protocol))
    for name, part in {"optimizer": optimizer, "schedule": schedule, "layer": model[0]}.items():
        Path(f"{name}.pickle").write_bytes(pickle.dumps(part))
        Path(f"{name}-python.pickle").write_bytes(pickle._dumps(part))


@way("torch")
def compiled_forms(model, optimizer, schedule):
    import torch

    example = torch.ones(1, 4)
    torch.jit.script(model).save("scripted.pt")
    torch.jit.trace(model, example).save("traced.pt")
    torch.jit.freeze(torch.jit.script(model.eval())).save("frozen.pt")
    torch.export.save(torch.export.export(model, (example,)), "exported.pt2")
    torch.save(torch.fx.symbolic_trace(model), "graph.pt")
    compiled = torch.compile(model, backend="eager")
    compiled(example)
    torch.save(compiled.state_dict(), "compiled-state.pt")
    model.train()


@way("torch")
def packages(model, optimizer, schedule):
    from torch.package import PackageExporter

    with PackageExporter("package.zip") as exporter:
        exporter.extern("**")
        exporter.save_pickle("model", "model.pkl", model)


@way("torch")
def safetensors(model, optimizer, schedule):
    from safetensors.torch import save_file, save_model

    save_file(model.state_dict(), "state.safetensors")
    save_model(model, "model.safetensors")


@way("torch")
def distributed(model, optimizer, schedule):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict

    parts = get_state_dict(model, optimizer)
    dcp.save(dict(zip(("model", "optimizer"), parts, strict=True)), checkpoint_id="distributed")


@way("trainers")
def lightning(marked):
    import lightning.pytorch as pl
    import torch

    class Net(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layers = net()

        def training_step(self, batch, index):
            return self.layers(batch).square().mean()

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=0.01)

    callbacks = []
    if marked:
        from phasescope.integrations.lightning import PhaseCallback

        callbacks.append(PhaseCallback())
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    where = {"enable_checkpointing": False, "default_root_dir": "."}
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, callbacks=callbacks, **quiet, **where)
    model = Net()
    trainer.fit(model, torch.utils.data.DataLoader(torch.ones(4, 4), batch_size=2))
    trainer.save_checkpoint("lightning.ckpt")
    trainer.save_checkpoint("lightning-weights.ckpt", weights_only=True)
    torch.save(model.layers, "lightning-model.pt")


@way("trainers")
def hugging_face(marked):
    import torch
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    torch.manual_seed(0)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = BertForSequenceClassification(BertConfig(vocab_size=20, max_position_embeddings=8, **shape))
    rows = [{"input_ids": torch.tensor([1, 2, number + 3]), "labels": number % 2} for number in range(4)]
    settings = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "save_strategy": "no", "logging_strategy": "no"}
    arguments = TrainingArguments("trainer", num_train_epochs=1, per_device_train_batch_size=2, **settings)
    callbacks = []
    if marked:
        from phasescope.integrations.transformers import PhaseCallback

        callbacks.append(PhaseCallback())
    trainer = Trainer(model, arguments, train_dataset=rows, callbacks=callbacks)
    trainer.train()
    trainer.save_model("trainer-model")
    model.save_pretrained("pretrained")
    torch.save(model, "bert.pt")
    torch.save(trainer.optimizer.state_dict(), "bert-optimizer.pt")


@way("trainers")
def accelerated(marked):
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = net()
    model, optimizer, loader = accelerator.prepare(
        model,
        torch.optim.AdamW(model.parameters(), lr=0.01),
        torch.utils.data.DataLoader(torch.ones(4, 4), batch_size=2),
    )
    if marked:
        from phasescope.integrations.torch import instrument

        instrument(model, optimizer)
    for batch in loader:
        accelerator.backward(model(batch).square().mean())
        optimizer.step()
        optimizer.zero_grad()
    accelerator.save_state("accelerated")
    accelerator.save_model(model, "accelerated-model")
    torch.save(accelerator.unwrap_model(model), "accelerated.pt")


@way("keras")
def keras_saves(marked):
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)]
    model = keras.Sequential(layers, name="net")
    model.compile(optimizer="adam", loss="mse")
    callbacks = [keras.callbacks.ModelCheckpoint("each-{epoch}.weights.h5", save_weights_only=True)]
    if marked:
        from phasescope.integrations.keras import PhaseCallback

        callbacks.append(PhaseCallback())
    model.fit(np.ones((4, 4)), np.ones((4, 1)), batch_size=2, epochs=2, verbose=0, callbacks=callbacks)
    model.save("model.keras")
    model.save("model.h5")
    model.save_weights("model.weights.h5")
    Path("model.json").write_text(model.to_json())
    Path("model.pickle").write_bytes(pickle.dumps(model))
    keras.models.clone_model(model).save("clone.keras")
    model.export("exported", verbose=False)


def save(group, marked):
    if group == "torch":
        parts = trained(marked)
        for function in _ways[group].values():
            function(*parts)
        return
    if marked:
        import phasescope

        phasescope.start()
    for function in _ways[group].values():
        function(marked)


def loads_torch():
    import torch
    from torch.utils._pytree import tree_leaves

    allowed = [torch.nn.Sequential, torch.nn.Linear, torch.nn.ReLU]
    for path in sorted(Path().glob("*.pt")):
        if path.stem in ("scripted", "traced", "frozen"):
            print(path, torch.jit.load(path)(torch.ones(1, 4)).item().hex())
        elif "state" in path.stem:
            print(path, len(tree_leaves(torch.load(path, weights_only=True))))
        elif path.stem in ("model", "deep", "shallow", "average"):
            with torch.serialization.safe_globals(allowed):
                print(path, torch.load(path, weights_only=True)(torch.ones(1, 4)).item().hex())
        else:
            print(path, type(torch.load(path, weights_only=False)).__name__)
    for path in sorted(Path().glob("*.pickle")):
        print(path, type(pickle.loads(path.read_bytes())).__name__)
    print(torch.export.load("exported.pt2").module()(torch.ones(1, 4)).item().hex())
    importer = torch.package.PackageImporter("package.zip")
    print(importer.load_pickle("model", "model.pkl")(torch.ones(1, 4)).item().hex())


def loads_trainers():
    import torch
    from safetensors.torch import load_file
    from transformers import BertForSequenceClassification

    for name in ("lightning.ckpt", "lightning-weights.ckpt", "bert-optimizer.pt"):
        print(name, sorted(torch.load(name, weights_only=True)))
    for name in ("lightning-model.pt", "accelerated.pt", "bert.pt"):
        print(name, type(torch.load(name, weights_only=False)).__name__)
    for folder in ("pretrained", "trainer-model"):
        print(folder, BertForSequenceClassification.from_pretrained(folder).num_parameters())
    print(sorted(load_file("accelerated-model/model.safetensors")))


def loads_keras():
    import keras
    import numpy as np

    for name in ("model.keras", "model.h5", "clone.keras"):
        print(name, keras.models.load_model(name, compile=False).predict(np.ones((1, 4)), verbose=0).shape)
    again = keras.models.model_from_json(Path("model.json").read_text())
    again.load_weights("model.weights.h5")
    print(pickle.loads(Path("model.pickle").read_bytes()).count_params())
    import tensorflow as tf

    exported = tf.saved_model.load("exported")
    print(exported.serve(np.ones((1, 4), "float32")).shape)


def load(group, folders):
    """Load what lies in each folder; print as JSON what was printed of each."""
    sys.modules["phasescope"] = None
    loads = {"torch": loads_torch, "trainers": loads_trainers, "keras": loads_keras}[group]
    told, here = {}, Path.cwd()
    for folder in folders:
        os.chdir(here / folder)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            loads()
        told[folder] = printed.getvalue()
    print(json.dumps(told))


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    _group, _how, *_folders = sys.argv[1:]
    if _how == "loads":
        load(_group, _folders)
    else:
        save(_group, _how == "marked")
