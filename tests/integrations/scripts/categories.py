"""Scenarios of what memory is made of: a compiled model, and two processes under DDP and FSDP2 (gloo, on the CPU)."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from phasescope.integrations.torch import instrument
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import phasescope
from support.scenarios import scenario, tell_all

WORLD = 2
torch.set_num_threads(1)


def made() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))


def trained(model: torch.nn.Module) -> Any:
    """The last look at three steps, and the tensors' own bytes."""
    optimizer = torch.optim.Adam(model.parameters())
    with phasescope.start() as session, instrument(model, optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(4, 8)).pow(2).sum().backward()
            optimizer.step()
        last = [event for event in session.events() if event["event_type"] == "memory_categories"][-1]["metadata"]
    found = {
        name[16:-6]: last[name] for name in last if name.startswith("memory.category.") and name.endswith("_bytes")
    }
    parameters = list(model.parameters())
    state = [value for each in optimizer.state.values() for value in each.values()]
    tensors = {
        "parameters": parameters,
        "gradients": [parameter.grad for parameter in parameters],
        "optimizer_state": state,
    }
    return found, {name: own_bytes(of) for name, of in tensors.items()}


def own_bytes(tensors: list[Any]) -> int:
    """Each storage once, whole: gradients may lie in one bucket."""
    local = [getattr(tensor, "to_local", lambda tensor=tensor: tensor)() for tensor in tensors]
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in local}.values())


@scenario
def compiled() -> Any:
    return trained(torch.compile(made(), backend="aot_eager"))


def work(rank: int, folder: str) -> None:
    os.environ["PHASESCOPE_DIR"] = f"{folder}/rings"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    told = {
        "ddp": trained(DistributedDataParallel(made())),
        "ddp, gradients in buckets": trained(DistributedDataParallel(made(), gradient_as_bucket_view=True)),
    }
    sharded, mesh = made(), init_device_mesh("cpu", (WORLD,))
    for layer in sharded:
        fully_shard(layer, mesh=mesh)
    told["fsdp"] = trained(fully_shard(sharded, mesh=mesh))
    dist.destroy_process_group()
    Path(folder, f"told-{rank}.json").write_text(json.dumps(told))


@scenario
def ranks() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (folder,), nprocs=WORLD)
        return {str(rank): json.loads(Path(folder, f"told-{rank}.json").read_text()) for rank in range(WORLD)}


if __name__ == "__main__":
    tell_all()
