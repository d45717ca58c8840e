"""Whether a session is heard of: when it counts as silent, and the words for a process that disappeared."""

from __future__ import annotations

from .formatting import duration_text

_SILENT_INTERVALS = 10
_SILENT_NS = 5_000_000_000

DISAPPEARED = "ended without stopping the session"
"""The words for a process that ended and wrote no `stop`."""


def silence_ns(state: str, heartbeat_ns: int | None, interval_ms: int | None, now_ns: int | None) -> int | None:
    """Return the age of the last heartbeat if that is suspiciously long for a session that runs, else None.

    That is ten sampling intervals and at least five seconds. It is None too if anything of it is not known.
    """
    if state != "running" or not heartbeat_ns or now_ns is None or not interval_ms:
        return None
    since_ns = now_ns - heartbeat_ns
    return since_ns if since_ns > max(_SILENT_NS, _SILENT_INTERVALS * interval_ms * 1_000_000) else None


def silent_text(since_ns: int) -> str:
    """Say that a session runs and is silent."""
    return f"running, but silent for {duration_text(since_ns)}"


def disappeared_text(pid: int | None = None) -> str:
    """Say that the process ended without stopping the session."""
    process = "its process" if pid is None else f"process {pid}"
    return f"killed or crashed: {process} {DISAPPEARED}"
