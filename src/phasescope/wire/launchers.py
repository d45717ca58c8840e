"""What launchers say in the environment: a process's rank, and what the ranks of one job have in common."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Launched", "job_id", "launched"]

_MOST_RANKS: Final = 10**7
_STEPS: Final = 2**32 - 256
"""Slurm numbers steps from 0; the batch script and an interactive shell have numbers from the other end."""

_NO_RUN_ID: Final = "none"
"""torchrun's run id if it was given none: that of every such job."""

_LOOPBACK: Final = ("localhost", "127.", "0.0.0.0", "::1", "[::1]")


class Launched(NamedTuple):
    """A process's rank of `world_size` ranks, and among those on its machine, as far as that is told."""

    rank: int
    local_rank: int | None
    world_size: int
    by_slurm: bool = False


_LAUNCHERS: Final[tuple[tuple[str, str, str], ...]] = (
    ("RANK", "LOCAL_RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_SIZE"),
    ("HOROVOD_RANK", "HOROVOD_LOCAL_RANK", "HOROVOD_SIZE"),
    ("FLUX_TASK_RANK", "FLUX_TASK_LOCAL_ID", "FLUX_JOB_SIZE"),
    ("PMI_RANK", "MPI_LOCALRANKID PMI_LOCAL_RANK", "PMI_SIZE"),
    # Behind those that Slurm may have started: Intel MPI's processes inherit the number of the daemon on their node.
    ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS SLURM_NTASKS"),
)
"""Rank, local rank and world size, each by the first of its names that is set."""

_OTHER_JOBS: Final = ("PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID", "PALS_APID", "PMIX_NAMESPACE")
_ADDRESSES: Final = (
    ("MASTER_ADDR", "MASTER_PORT"),
    ("HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT"),
)


def launched(environ: Mapping[str, str]) -> Launched | None:
    """Return the rank that the first launcher tells whose rank and world size are both set and fit together."""
    for names in _LAUNCHERS:
        rank, local_rank, world_size = (_int_or_none(_first(environ, name.split())) for name in names)
        if rank is None or world_size is None or not 0 <= rank < world_size <= _MOST_RANKS:
            continue
        by_slurm = names[0] == "SLURM_PROCID"
        if by_slurm and rank == 0 and _is_batch_script(environ):
            continue
        sane = local_rank is not None and 0 <= local_rank < world_size
        return Launched(rank, local_rank if sane else None, world_size, by_slurm)
    cluster = _cluster(environ)
    return None if cluster is None else cluster[0]


def job_id(environ: Mapping[str, str], by_launcher: Launched | None, world_size: int) -> str | None:
    """Return the name that all ranks of a job have in common, by what one of them is told; None if there is none."""
    run_id = _first(environ, ("TORCHELASTIC_RUN_ID",))
    if run_id is not None and run_id != _NO_RUN_ID:
        return run_id
    slurm_job = _first(environ, ("SLURM_JOB_ID",))
    if slurm_job is not None:
        # Several steps in one job, even at once, are not the same ranks. But those that another launcher starts within
        # steps may be in one for each node, and have the number of a daemon that Slurm started.
        step = _step_number(environ) if by_launcher is not None and by_launcher.by_slurm else None
        return f"{slurm_job}.{step}" if step else slurm_job
    address = _address(environ) if world_size > 1 else None  # one process alone meets nobody
    return _first(environ, _OTHER_JOBS) or address or run_id


def _first(environ: Mapping[str, str], names: tuple[str, ...] | list[str]) -> str | None:
    return next((text for name in names if (text := environ.get(name)) and text.strip()), None)


def _int_or_none(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def _is_batch_script(environ: Mapping[str, str]) -> bool:
    """Return whether this is Slurm's batch script, or a shell in its job: told how many tasks, and none of them."""
    return bool(environ.get("SLURM_JOB_ID")) and _step_number(environ) is None


def _step_number(environ: Mapping[str, str]) -> int | None:
    step = _int_or_none(_first(environ, ("SLURM_STEP_ID", "SLURM_STEPID")))
    return step if step is not None and 0 <= step < _STEPS else None


def _address(environ: Mapping[str, str]) -> str | None:
    """Return where the ranks meet, unless each machine calls itself that."""
    for names in _ADDRESSES:
        host, port = (_first(environ, (name,)) for name in names)
        if host is not None and port is not None and not host.startswith(_LOOPBACK):
            return f"{host}:{port}"
    cluster = _cluster(environ)
    return cluster[1] if cluster is not None and not cluster[1].startswith(_LOOPBACK) else None


def _cluster(environ: Mapping[str, str]) -> tuple[Launched, str] | None:
    """Return the rank that TensorFlow's `TF_CONFIG` gives a worker, and the address of the first one."""
    text = environ.get("TF_CONFIG")
    try:
        config = json.loads(text) if text else {}
        workers = {kind: list(config["cluster"].get(kind, ())) for kind in ("chief", "worker")}
        addresses = [*workers["chief"], *workers["worker"]]
        kind, index = config["task"]["type"], int(config["task"]["index"])
        if not 0 <= index < len(workers[kind]):
            return None
        rank = index + (len(workers["chief"]) if kind == "worker" else 0)
        return Launched(rank, None, len(addresses)), str(addresses[0])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
