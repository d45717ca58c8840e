"""Advice for a device whose memory ran out for another reason than what the training itself holds there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import path_text, size_text

from .asked_by import asked_by
from .cause import OTHERS, TOO_LARGE, UNKNOWN
from .torch_settings import expandable_segments

if TYPE_CHECKING:
    from .cause import Cause
    from .evidence import Evidence

_POOLS_SHARE = 0.25
_SHORT_SHARE = 0.05
SMALLER_BATCH = "a smaller batch, with gradient accumulation if its size matters"

TAKES_MOST = (
    "a JAX or TensorFlow process takes most of a GPU unless XLA_PYTHON_CLIENT_PREALLOCATE=false, or "
    "TF_FORCE_GPU_ALLOW_GROWTH=true, is set for it"
)
"""Beside which another process gets little."""


def limit_of_device(cause: Cause, evidence: Evidence) -> list[str]:
    """Advise if the process may have no more of the device."""
    shortage = evidence.shortage
    backend = "" if shortage is None else shortage.device.backend
    if backend == "jax":
        raise_it = "raise the share that JAX takes of the device: XLA_PYTHON_CLIENT_MEM_FRACTION=.95 (.75 by default)"
    elif backend == "mps":
        raise_it = "PYTORCH_MPS_HIGH_WATERMARK_RATIO is what sets it: a higher ratio, or leave it unset"
    else:
        raise_it = (
            "raise or drop the limit: torch.cuda.set_per_process_memory_fraction, per_process_memory_fraction in "
            "PYTORCH_ALLOC_CONF, or a server's own (vLLM's gpu_memory_utilization)"
        )
    return [
        raise_it,
        "find who set it: a test that plays a smaller device, or a setting that shares the device among processes",
        "a smaller batch, with gradient accumulation if its size matters, if the limit is meant",
    ]


def refused(cause: Cause, evidence: Evidence) -> list[str]:
    """Advise on a request that was refused although the memory was free."""
    return [
        *_full_host(evidence),
        "look for a limit outside of this process: a virtual GPU or a MIG slice, CUDA_MPS_PINNED_DEVICE_MEM_LIMIT, the "
        "container's runtime",
        "on Windows and WSL enlarge the page file: the driver wants room on the host for what it gives of the device",
        "on the host, `ulimit -v` and a memory limit of the container: the driver maps what it allocates there",
        "or another process took it and gave it back since: `nvidia-smi --loop-ms=200` shows it; else look in `dmesg` "
        "for the driver (Xid)",
    ]


def _full_host(evidence: Evidence) -> list[str]:
    """Advise on a host that was nearly full by the last look at it: drivers want room there for what they give."""
    host = next((row for row in evidence.summary.devices if row.label == "host"), None)
    if host is None or host.used_bytes is None or not host.total_bytes:
        return []
    if host.total_bytes - host.used_bytes > _SHORT_SHARE * host.total_bytes:
        return []
    used = f"{size_text(host.used_bytes)} of {size_text(host.total_bytes)}"
    return [
        f"the host was nearly full ({used}), and the driver wants room there too: fewer data workers, or less cached"
    ]


def allocator_cache(cause: Cause, evidence: Evidence) -> list[str]:
    """Advise if the allocator keeps memory unused that a library beside it would have needed."""
    shortage = evidence.shortage
    where = "the call that failed" if shortage is None or not shortage.path else path_text(shortage.path)
    module = "torch.xpu" if shortage is not None and shortage.device.backend == "xpu" else "torch.cuda"
    expandable = expandable_segments(evidence.settings)
    lines = [
        f"{module}.empty_cache() before {where}: it gives back what is not in use",
        f"leave room for what is beside the allocator: {module}.set_per_process_memory_fraction(0.9), which makes it "
        "give back its cache instead of growing",
        "let libraries take theirs first: a collective, a matrix product and a convolution before the first large step",
    ]
    return lines if expandable is None else [*lines, f"{expandable}, if sizes change at every step: it keeps less"]


def outside_allocator(cause: Cause, evidence: Evidence) -> list[str]:
    """Advise if this process holds the memory beside its allocator."""
    lines = [
        "another library of this process holds it: communication buffers (NCCL), workspaces, graphs, or a second "
        "framework, which takes most of a GPU unless forbidden (XLA_PYTHON_CLIENT_PREALLOCATE=false, "
        "TF_FORCE_GPU_ALLOW_GROWTH=true)"
    ]
    if evidence.shortage is not None and evidence.shortage.device.backend == "mps":
        lines = ["torch.mps.empty_cache() between phases, and smaller inputs: Metal's own buffers and graphs hold it"]
    return [*lines, SMALLER_BATCH]


def unknown(cause: Cause, evidence: Evidence) -> list[str]:
    """Advise if it is not known who holds the device, or if it had room."""
    shortage = evidence.shortage
    if "free_afterwards_bytes" in cause.figures:
        is_limited = shortage is not None and shortage.allowed_bytes is not None
        return [
            *(limit_of_device(cause, evidence)[:1] if is_limited else ()),
            "page-locked memory is the host's, and CUDA's error is the same: try without pin_memory, and offloading "
            "without pinning",
            *refused(cause, evidence),
        ]
    where = "" if shortage is None or not shortage.path else f" before {path_text(shortage.path)}"
    snapshot = asked_by("oom_snapshot", evidence)
    return [
        f"see who holds the device{where}: nvidia-smi (or rocm-smi, xpu-smi) lists the processes and what each has",
        "in a container the list may be hidden: look on the machine itself, or start it with --pid=host",
        "if it is this process: a second framework, communication buffers (NCCL) and graphs lie outside of its "
        f"allocator{f'; {snapshot} shows what lies in it' if snapshot else ''}",
        SMALLER_BATCH,
    ]


def one_pool(cause: Cause, evidence: Evidence) -> list[str]:
    """Advise on a device without memory of its own, if it was full."""
    shortage = evidence.shortage
    held = None if shortage is None or shortage.on_host else shortage.breakdown
    if held is None or not held.is_hosts_memory or cause.kind not in (OTHERS, TOO_LARGE, UNKNOWN):
        return []
    return [
        "it and the host use one pool: end other programs and data workers; the page cache counts as well "
        "(`echo 1 > /proc/sys/vm/drop_caches`, as root)"
    ]


def private_pools(cause: Cause, evidence: Evidence) -> list[str]:
    """Advise on memory that CUDA graphs hold and nothing else can use, if it is much."""
    pools, total = cause.figures.get("private_pools_bytes"), cause.figures.get("total_bytes")
    if not pools or not total or pools < _POOLS_SHARE * total:
        return []
    held = size_text(int(pools))
    return [f'{held} lie in pools of their own: fewer shapes under mode="reduce-overhead", one pool for several graphs']
