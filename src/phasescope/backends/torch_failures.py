"""The counters at a failing allocation, by torch's out-of-memory observer: before anything is freed on the way out.

torch calls an observer once its own retries have failed, in the thread that allocates (of a backward pass, autograd's),
with the interpreter's lock and without its allocator's. It cannot be taken off again, and torch calls it as well where
an operator catches the failure and goes on with less. So there is one per process, which belongs to no session, asks
for what it needs once and keeps the last few.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from phasescope.backends.torch_pluggable import allocates_by_python

if TYPE_CHECKING:
    from collections.abc import Callable

_KEPT = 8
_TEXT_ROUNDING = 0.006  # messages have two decimals: 1.00 GiB may be 1.005
_MAY_HAVE_ALL = 0.99

_failures: deque[Failure] = deque(maxlen=_KEPT)
_watched: WeakSet[Any] = WeakSet()
_recorder: Callable[[], str | None] | None = None


class Failure(NamedTuple):
    """One allocation that failed. Bytes. `limit_bytes` is the device's total, or what this process may have of it;
    `rejections` is how many the allocator had refused by then without a call here."""

    device: int
    requested_bytes: int
    limit_bytes: int
    free_bytes: int
    figures: dict[str, int]
    snapshot: str | None
    rejections: int = 0


def watch(core: Any, name: str, memory_stats: Callable[[int], dict[Any, Any]], knows_inactive: bool) -> bool:
    """Attach the observer by the function of this name in `torch._C`, once; whether it is attached.

    It may be missing, and is refused by cudaMallocAsync and by pluggable allocators. torch adds it to its list without
    a lock: another thread that runs out of memory in that very moment could trip over it, and is about to fail anyway.
    """
    if core in _watched:
        return True
    attach = getattr(core, name, None)
    if attach is None:
        return False

    def observe(device: int, requested_bytes: int, limit_bytes: int, free_bytes: int) -> None:
        figures: dict[str, int] = {}
        snapshot, rejected = None, 0
        if not allocates_by_python():  # both wait for torch's lock, which such an allocator may hold in another thread
            try:
                stats = memory_stats(device)
                rejected = rejections(stats)
                figures = _read(stats, knows_inactive)
            except Exception:  # what is raised here would take the place of torch's own error
                figures = {}
            if _recorder is not None:
                try:
                    snapshot = _recorder()
                except Exception:
                    snapshot = None
        _failures.append(Failure(device, requested_bytes, limit_bytes, free_bytes, figures, snapshot, rejected))

    try:
        attach(observe)
    except Exception:  # RuntimeError by an allocator that has no observers
        return False
    _watched.add(core)
    return True


def record_with(recorder: Callable[[], str | None] | None) -> None:
    """Call this at each failure from now on, for the path of a file that it writes; None: nothing."""
    global _recorder
    _recorder = recorder


def rejections(stats: dict[Any, Any]) -> int:
    """Return how many requests the allocator has refused for its limit, before it asked the driver (torch 2.13). No
    observer is called for those."""
    return int(stats.get("num_oom_rejections", 0))


def found(device: int, requested_bytes: int, total_bytes: int | None, rejected: int | None = None) -> dict[str, Any]:
    """Return the figures at the last failure to allocate that much on the device, as in `told` of an error event,
    and `snapshot`, a path, where one was written; nothing if none was seen, or if requests were refused since.

    `rejected` is how many that are by now, None if that is not known.
    """
    for failure in reversed(_failures):
        if failure.device != device:
            continue
        if rejected is not None and failure.figures and failure.rejections < rejected:
            return {}
        if abs(failure.requested_bytes - requested_bytes) > _TEXT_ROUNDING * failure.requested_bytes:
            continue
        seen: dict[str, Any] = {**failure.figures, "free_bytes": failure.free_bytes}
        if total_bytes is None or failure.limit_bytes >= _MAY_HAVE_ALL * total_bytes:
            seen["total_bytes"] = failure.limit_bytes
        else:
            seen |= {"total_bytes": total_bytes, "allowed_bytes": failure.limit_bytes}
        return seen if failure.snapshot is None else {**seen, "snapshot": failure.snapshot}
    return {}


def _read(stats: dict[Any, Any], knows_inactive: bool) -> dict[str, int]:
    allocated = stats["allocated_bytes"]["all"]["current"]
    figures = {"allocated_bytes": allocated, "slack_bytes": stats["reserved_bytes"]["all"]["current"] - allocated}
    if knows_inactive:
        figures["inactive_bytes"] = stats["inactive_split_bytes"]["all"]["current"]
    return figures
