"""The first things to try, for each cause: short, concrete, and knowing the settings that are in force already."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import path_text, size_text

from . import device_advice
from .category_advice import by_category
from .cause import (
    ALLOCATOR_CACHE,
    FRAGMENTATION,
    GROWTH,
    HOST_FULL,
    KILLED_OUTSIDE,
    LIMIT,
    LIMIT_OF_DEVICE,
    OTHERS,
    OUTSIDE_ALLOCATOR,
    PHASE_RISES,
    REFUSED,
    TOO_LARGE,
    UNKNOWN,
    WORKERS_GROW,
)
from .census import behind, compiled_again, is_explained, may_be_garbage, not_counted_whole, seen_anyway, small_ones
from .census_text import remedies, suspicion
from .exhausted_limits import (
    MAPPINGS,
    OPEN_FILES,
    SHARED_MEMORY,
    WORKER_KILLED,
    is_of_nccl,
)
from .growth import WORKERS
from .growth_advice import gatherers, keepers
from .growth_causes import hours_text
from .heap import is_in_pieces
from .host_limits import exceeds_all, own_limit
from .left_behind import leaving_most, left_text
from .torch_settings import allocator_settings, expandable_already, expandable_segments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cause import Cause
    from .evidence import Evidence, LastShortage

_TORCH = ("cuda", "rocm", "xpu")
_MOST = 4
_CIRCLES = (
    "see whether memory falls back after gc.collect(): objects that refer to each other in a circle stay until the "
    "collector comes, which gc.disable(), gc.freeze() or a large gc.set_threshold() keep away"
)
_PINNED = re.compile(r"cudaHostAlloc|cudaMallocHost|hipHostMalloc|[Pp]in memory|\bbytes on host\b|CUDA host|[Pp]inned")
_NOT_FAR = 2  # times the whole: it may be meant
_UNLESS_KNOWN = (
    "activation checkpointing, or mixed precision (bf16), if most of it is activations",
    "sharding (FSDP, ZeRO) or an optimizer with less state, if most of it is there before the step begins",
)


def advice(cause: Cause, evidence: Evidence) -> tuple[str, ...]:
    """Return at most four lines of advice, the likeliest to help first."""
    give = _FOR.get(cause.kind)
    lines = give(cause, evidence) if give is not None else []
    lines = [*device_advice.one_pool(cause, evidence), *lines]
    if cause.growth is not None and give not in (_growth, _workers):  # it may be behind the ending
        lines = [*lines[: _MOST // 2], *(_workers if cause.growth.device == WORKERS else _growth)(cause, evidence)]
    return tuple(lines[:_MOST])


def _growth(cause: Cause, evidence: Evidence) -> list[str]:
    growth = cause.growth
    if growth is None:
        return []
    again = compiled_again(growth, evidence.census)
    kept = (*behind(growth, evidence.census), *again, *small_ones(growth, evidence.census))
    of_keepers = [line for grown in kept for line in remedies(grown)]
    of_keepers += [suspicion(grown) for grown in not_counted_whole(growth, evidence.census)]
    if is_in_pieces(growth, evidence.heap):
        of_keepers += _in_pieces(evidence)
    is_whole = is_explained(growth, evidence.census)
    others = [] if is_whole else keepers(growth, evidence.seen, evidence.rises, is_compiling_told=bool(again))
    if may_be_garbage(growth, evidence.census):
        others.insert(1, _CIRCLES)
    lines = [*of_keepers, *others]
    if growth.hours_until_full is not None and not evidence.ending.is_over:
        full = f"at this rate it is full in {hours_text(growth.hours_until_full)}: save a checkpoint before"
        lines.insert(_MOST - 1, full)
    return lines


def _in_pieces(evidence: Evidence) -> Iterator[str]:
    yield (
        "inputs of a few fixed sizes (padded), MALLOC_ARENA_MAX=2, or another allocator (jemalloc): freed blocks lie "
        "between others, and larger ones do not fit there"
    )
    if evidence.seen.has("torch"):
        yield (
            "on the CPU torch's oneDNN keeps a kernel for each new shape, of which the first thousand stay: "
            "ONEDNN_PRIMITIVE_CACHE_CAPACITY=64, if inputs have many shapes"
        )


def _rises(cause: Cause, evidence: Evidence) -> list[str]:
    of_keepers = [line for grown in seen_anyway(evidence.census) for line in remedies(grown)]
    return of_keepers if cause.rise is None else [*of_keepers, *gatherers(cause.rise, evidence.seen)]


def _workers(cause: Cause, evidence: Evidence) -> list[str]:
    keeps = (
        "look in the dataset's __getitem__, collate_fn and transforms for what they keep: caches, lists, open readers"
    )
    copies = (
        "large lists, dicts and strings in a dataset are copied page by page into each worker that reads them (that "
        "counts references): hold them as arrays, or as one buffer of bytes, instead"
    )
    children = None if cause.growth is None else cause.growth.children
    is_known = children is not None and (children.copy_pages or children.new_memory)
    likely = [keeps, copies] if children is None or not is_known else [copies] if children.copy_pages else [keeps]
    return [
        *likely,
        "fewer workers (num_workers), or persistent_workers=False, so that they end with each epoch",
    ]


def _fragmentation(cause: Cause, evidence: Evidence) -> list[str]:
    lines = []
    if evidence.shortage is not None and evidence.shortage.device.backend == "npu":
        lines.append("PYTORCH_NPU_ALLOC_CONF=expandable_segments:True")
    if _is_torch(evidence):
        lines.append(expandable_segments(evidence.settings) or expandable_already(evidence.settings))
        if "max_split_size_mb" not in allocator_settings(evidence.settings):
            lines.append("or max_split_size_mb in the same variable, a little above the size of your large tensors")
    lines.append("pad inputs to a few fixed lengths: sizes that change at every step are what breaks the memory up")
    if evidence.shortage is not None and evidence.shortage.snapshot:
        lines.append(f"the allocator's own picture: {evidence.shortage.snapshot}, in pytorch.org/memory_viz")
    return lines


def _others(cause: Cause, evidence: Evidence) -> list[str]:
    lines = ["find them with nvidia-smi (or rocm-smi), and end those that are left over from earlier runs"]
    if evidence.summary.world_size and evidence.summary.world_size > 1:
        lines.append(
            "ranks that open a context on a device that is not theirs: torch.cuda.set_device(local_rank) first"
        )
    lines.append("or take another device: CUDA_VISIBLE_DEVICES")
    if "TF_FORCE_GPU_ALLOW_GROWTH" not in evidence.settings:
        lines.append(device_advice.TAKES_MOST)
    return lines


def _too_large(cause: Cause, evidence: Evidence) -> list[str]:
    shortage = evidence.shortage
    if shortage is not None and exceeds_all(shortage):
        return _oversized(shortage)
    lines = [device_advice.SMALLER_BATCH]
    made_of, pools = by_category(shortage, evidence.categories), device_advice.private_pools(cause, evidence)
    if made_of:
        return [*pools, *made_of, *lines]
    lines = [*pools, *lines]
    if shortage is not None and shortage.path:
        largest = _largest_phase(evidence)
        if largest is not None:
            lines.append(largest)
    return [*lines, *_UNLESS_KNOWN]


def _oversized(shortage: LastShortage) -> list[str]:
    """Advise on a request that no batch explains: a size was computed wrongly, or a whole data set is held at once."""
    where = f" in {path_text(shortage.path)}" if shortage.path else ""
    whose = "the whole host" if shortage.on_host else shortage.label
    lines = [f"check the shape and the type of the allocation{where}: {size_text(shortage.requested_bytes)} are"]
    lines[0] += f" more than {whose} has ({size_text(shortage.device.total_bytes)})"
    if (shortage.requested_bytes or 0) < _NOT_FAR * (shortage.device.total_bytes or 0):
        lines.insert(0, "a smaller batch or a shorter sequence: the request is not far beyond what there is")
    lines.append(
        "an index or a length that is taken for a size, or a product that was to be a sum, makes such requests"
    )
    if shortage.on_host:
        lines.append("if it is meant: memory mapping (np.memmap, safetensors), a sparse tensor, or a part at a time")
    return lines


def _largest_phase(evidence: Evidence) -> str | None:
    rows = [] if evidence.shortage is None else leaving_most(evidence.summary.rows, evidence.shortage)
    if not rows:
        return None
    return f"begin with {path_text(rows[0].path)}: it leaves {left_text(rows[0])}"


def _limit(cause: Cause, evidence: Evidence) -> list[str]:
    asked, (_, limit) = cause.figures.get("requested_bytes"), own_limit(evidence.shortage)
    shape = (
        ["check the shape of the allocation: it is more than the whole limit"] if (asked or 0) > (limit or 0) else []
    )
    return [
        *shape,
        "raise the limit (ulimit, resource.setrlimit), or find who set it: a shell, a batch system, a test",
        "address space is not memory: libraries reserve much that they never use, so RLIMIT_AS must be generous",
    ]


def _unknown(cause: Cause, evidence: Evidence) -> list[str]:
    shortage = evidence.shortage
    if shortage is None or not shortage.on_host:
        return device_advice.unknown(cause, evidence)
    if shortage.raised_at is not None:
        return [f"{shortage.raised_at}: a `raise` statement, no failed allocation: see which condition leads there"]
    where = f" in {path_text(shortage.path)}" if shortage.path else ""
    if _PINNED.search(shortage.error):
        return [
            "it was page-locked memory: pin less (pin_memory=False; offloading without pinning), or in smaller blocks, "
            "since torch rounds each up to a power of two",
            "or look for what limits it: `ulimit -l`, a container's limit of memory, WSL (half of what it has)",
        ]
    return [
        f"check the shape and the type of the allocation{where}: one request may have been far too large",
        "or the kernel refused memory that was there: look at vm.overcommit_memory and vm.max_map_count (sysctl)",
        "or it was short for a moment only: `phasescope report` shows the host's memory over time",
    ]


def _host_full(cause: Cause, evidence: Evidence) -> list[str]:
    lines = [
        "fewer data workers, a smaller prefetch_factor, no pin_memory: each of them holds batches in the host's memory"
    ]
    if any(growth.device == WORKERS for growth in evidence.growth):
        lines.append("phasescope followed the workers: `summary` shows what they hold")
    lines.append("load with memory mapping (mmap, safetensors) instead of reading whole files")
    lines.append("in a container, raise its memory limit; on Kubernetes or Slurm, ask for more")
    return lines


def _worker_killed(cause: Cause, evidence: Evidence) -> list[str]:
    sent = "check what sent the signal: the batch system, an operator, a watchdog of memory (systemd-oomd, earlyoom)"
    return [
        *([sent] if evidence.oom_kills == 0 else []),
        "fewer workers (num_workers, num_proc), a smaller prefetch_factor, no pin_memory: each of them holds batches "
        "in the host's memory",
        "`dmesg` has the process ids of those that the kernel killed for memory: look for the worker's",
        "in a container, raise its memory limit; on Kubernetes or Slurm, ask for more",
    ]


def _shared_memory(cause: Cause, evidence: Evidence) -> list[str]:
    is_bus_error = "worker_pid" in cause.figures
    less = "fewer data workers (num_workers) or a smaller prefetch_factor: the batches of each wait in /dev/shm"
    if is_of_nccl(evidence.ending.context or ""):
        less = "or NCCL_SHM_DISABLE=1: ranks of one machine then exchange data by its network, more slowly"
    return [
        "a larger /dev/shm: `docker run --shm-size=8g` or --ipc=host; on Kubernetes an emptyDir of medium Memory there",
        less,
        "`df -h /dev/shm` shows how large it is; files that crashed processes left there can be removed",
        *(["if it has room: look for a mapped file (LMDB, np.memmap) that is written again"] if is_bus_error else []),
    ]


def _mappings(cause: Cause, evidence: Evidence) -> list[str]:
    return [
        "fewer and larger pieces: many small tensors in one, numbers instead of tensors in what workers hand over",
        "torch.multiprocessing.set_sharing_strategy('file_descriptor'), or num_workers=0, if workers share them",
        "more of them: `sysctl -w vm.max_map_count=262144`, as root; a limit of address space (`ulimit -v`) does the "
        "same harm",
    ]


def _open_files(cause: Cause, evidence: Evidence) -> list[str]:
    return [
        "look for things opened in the loop and not closed: files, sockets, memory maps, data loaders",
        "torch.multiprocessing.set_sharing_strategy('file_system'): else each tensor that a worker hands over, and "
        "that is kept, holds a descriptor; keep a copy of it (`.clone()`), or fewer",
        "raise the limit: `ulimit -n 65536`, or resource.setrlimit(resource.RLIMIT_NOFILE, ...)",
    ]


def _killed(cause: Cause, evidence: Evidence) -> list[str]:
    return [
        "look for a crash in its output: `python -X faulthandler` shows where a segmentation fault or an abort struck",
        "look for `os.exec`, or an `exit` in C, in what it calls: they end the process silently",
        "check what sent the signal: the batch system's time limit, a preemption, an operator; `dmesg` names those of "
        "the kernel",
    ]


_FOR = {
    GROWTH: _growth,
    WORKERS_GROW: _workers,
    PHASE_RISES: _rises,
    FRAGMENTATION: _fragmentation,
    ALLOCATOR_CACHE: device_advice.allocator_cache,
    OTHERS: _others,
    TOO_LARGE: _too_large,
    OUTSIDE_ALLOCATOR: device_advice.outside_allocator,
    LIMIT_OF_DEVICE: device_advice.limit_of_device,
    REFUSED: device_advice.refused,
    LIMIT: _limit,
    HOST_FULL: _host_full,
    UNKNOWN: _unknown,
    WORKER_KILLED: _worker_killed,
    SHARED_MEMORY: _shared_memory,
    MAPPINGS: _mappings,
    OPEN_FILES: _open_files,
    KILLED_OUTSIDE: _killed,
}


def _is_torch(evidence: Evidence) -> bool:
    return evidence.shortage is not None and evidence.shortage.device.backend in _TORCH
