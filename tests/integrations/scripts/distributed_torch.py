"""Scenarios of `instrument` under DDP and FSDP2: two processes on the CPU, connected by gloo."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from phasescope.integrations.torch import instrument
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import phasescope
from support.scenarios import notes, phases

WORLD = 2
LATE_S = 0.3


def made() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))


def trained(model: torch.nn.Module, rank: int, instrumented: bool, root: torch.nn.Module | None = None) -> Any:
    """The phases and notes of three steps, and the final weights with every bit."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.manual_seed(rank)
    batches = [torch.randn(4, 8) for _ in range(3)]
    with phasescope.start() as session:
        marked = instrument(root or model, optimizer) if instrumented else None
        for inputs in batches:
            model(inputs).pow(2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        if marked is not None:
            marked.undo()
        local = [getattr(p, "to_local", lambda p=p: p)() for p in model.parameters()]
        return phases(session), notes(session), [[v.hex() for v in p.flatten().tolist()] for p in local]


def reduced_late() -> float:
    """How long the backward phase of DDP takes, in seconds, where the reduction is done so long after the gradients."""
    model = DistributedDataParallel(made())

    def reduce(_state, bucket):  # type: ignore[no-untyped-def] # DDP looks at annotations, and takes no strings for them
        done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        threading.Timer(LATE_S, done.set_result, (bucket.buffer(),)).start()
        return done

    model.register_comm_hook(None, reduce)
    with phasescope.start() as session, instrument(model):
        model(torch.randn(4, 8)).sum().backward()
        (row,) = (row for row in session.summary().rows if row.path == ("backward",))
        return (row.total_ns or 0) / 1e9


def work(rank: int, folder: str) -> None:
    os.environ["PHASESCOPE_DIR"] = f"{folder}/rings"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    mesh = init_device_mesh("cpu", (WORLD,))
    told = {}
    for instrumented in (False, True):
        told[f"ddp {instrumented}"] = trained(DistributedDataParallel(made()), rank, instrumented)
        inner = made()
        told[f"ddp, inner {instrumented}"] = trained(DistributedDataParallel(inner), rank, instrumented, inner)
        sharded = made()
        for layer in sharded:
            fully_shard(layer, mesh=mesh)
        fully_shard(sharded, mesh=mesh)
        told[f"fsdp {instrumented}"] = trained(sharded, rank, instrumented)
    told["reduced late"] = reduced_late()
    dist.destroy_process_group()
    Path(folder, f"told-{rank}.json").write_text(json.dumps(told))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            torch.multiprocessing.spawn(work, (folder,), nprocs=WORLD)
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        print(
            json.dumps({str(rank): json.loads(Path(folder, f"told-{rank}.json").read_text()) for rank in range(WORLD)})
        )


if __name__ == "__main__":
    main()
