"""Scripts for `phasescope run` that start processes of their own: each function is one, named on the command line."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from typing import Any


def train(steps: int = 3) -> float:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = torch.utils.data.DataLoader(torch.ones(2 * steps, 4), batch_size=2)
    for batch in loader:
        loss = model(batch).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return float(loss.detach())


def as_rank(rank: int, world_size: int, store: str) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    try:
        ours = [name for name in os.environ if "PHASESCOPE" in name]
        os.write(1, f"rank {rank}: {train():.3f} {ours}\n".encode())  # of two at once, whole lines
    finally:
        dist.destroy_process_group()


def does_nothing(item: int) -> int:
    return item


def looks_only(item: int) -> float:
    import torch

    with torch.no_grad():
        return float(torch.nn.Linear(2, 2)(torch.ones(1, 2)).sum()) * 0 + item


def trains(item: int) -> float:
    return round(train(2), 3) + item


def marks(name: str) -> None:
    from phasescope import phase

    with phase(name):
        pass


def fails() -> None:
    train(2)
    raise ValueError("of the script's own")


def fails_in_backward() -> None:
    import torch

    train(2)
    loss = torch.nn.Linear(4, 2)(torch.ones(2, 4)).exp().sum()
    loss.backward()
    loss.backward()


def context_of(method: str) -> Any:
    return multiprocessing.get_context(method)


def torch_spawn() -> None:
    import torch.multiprocessing as mp

    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(as_rank, args=(2, f"{folder}/store"), nprocs=2)


def processes(method: str) -> None:
    context = context_of(method)
    with tempfile.TemporaryDirectory() as folder:
        started = [context.Process(target=as_rank, args=(rank, 2, f"{folder}/store")) for rank in range(2)]
        for each in started:
            each.start()
        for each in started:
            each.join()
    print([each.exitcode for each in started])


def helpers(method: str) -> None:
    """Processes that train nothing."""
    context = context_of(method)
    with context.Manager() as manager, context.Pool(2) as pool:
        print(manager.list(pool.map(does_nothing, range(4))), sum(pool.map(looks_only, range(3))))
    import torch

    loader = torch.utils.data.DataLoader(list(range(4)), num_workers=1, multiprocessing_context=method)
    print([int(item) for item in loader])


def pool_trains(method: str) -> None:
    with context_of(method).Pool(1) as pool:
        print(pool.map(trains, range(2)))
        pool.close()
        pool.join()


def own_marks(method: str) -> None:
    child = context_of(method).Process(target=marks, args=("mine",))
    child.start()
    child.join()
    print(child.exitcode)


def child_fails(method: str, target: str) -> None:
    child = context_of(method).Process(target=globals()[target])
    child.start()
    child.join()
    print(child.exitcode)


def plain_fork() -> None:
    pid = os.fork()
    if pid == 0:
        train()
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def notebook_launcher() -> None:
    from accelerate import debug_launcher

    debug_launcher(train, num_processes=2)


def lightning_ddp() -> None:
    import torch
    from lightning.pytorch import LightningModule, Trainer

    class Model(LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def training_step(self, batch: torch.Tensor, _index: int) -> torch.Tensor:
            return self.layer(batch).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Model(), torch.utils.data.DataLoader(torch.ones(8, 4), batch_size=2))
    os.write(1, f"rank {trainer.global_rank} of {trainer.world_size}\n".encode())  # of two at once, whole lines


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    globals()[name](*arguments)
