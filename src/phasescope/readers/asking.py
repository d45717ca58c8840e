"""Ask a running session for a snapshot, as another process, and wait for the answer."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from phasescope import _os_compat
from phasescope.analysis.event_fields import int_or_none
from phasescope.analysis.formatting import duration_text
from phasescope.analysis.liveness import silence_ns
from phasescope.wire.requests import Request

if TYPE_CHECKING:
    from pathlib import Path

    from phasescope.readers.reader import Reader

SNAPSHOT = "snapshot"
"""The `kind` of a saved one."""

_PAUSE_S = 0.02
_OF_SESSION = ("session_id", "pid", "host", "command", "python", "version", "job_id", "rank", "world_size")
_FINISH_S = 30.0
"""For an answer to be written once it is due: of a training with very many objects."""


class NoAnswerError(Exception):
    """The session gave no snapshot; the text says why, and that nothing of the request is left."""


def snapshot(reader: Reader, *, wait_s: float, timeout_s: float) -> dict[str, Any]:
    """Return the snapshot of a running session, as JSON types.

    wait_s: how long the session shall wait for the end of a step, to count tensors.
    timeout_s: how long to wait for the session to see the request, beside its sampler's period.

    Raises NoAnswerError, and OSError if no request can be put beside the ring.
    """
    path = _path_of(reader)
    asked_ns = time.time_ns()
    interval_s = (int_or_none(reader.constants.get("sampling_interval_ms")) or 0) / 1000
    deadline = time.monotonic() + timeout_s + interval_s
    request = _put(path, {"what": SNAPSHOT, "wait_ms": round(wait_s * 1000)}, deadline)
    try:
        answer = _awaited(request, reader, deadline, wait_s + interval_s + _FINISH_S)
    finally:
        request.withdraw()
    about = {name: reader.constants.get(name) for name in _OF_SESSION}
    return {"kind": SNAPSHOT, "asked_ns": asked_ns, "session": about, **answer}


def _path_of(reader: Reader) -> Path:
    path = reader.path
    if path is None or reader.state != "running" or not str(path).endswith(".ring"):
        raise NoAnswerError(f"its session is over ({reader.state}); only a running one can answer")
    takes = reader.constants.get("requests")
    if takes is None:
        version = reader.constants.get("version")
        raise NoAnswerError(f"it runs phasescope {version}, which takes no requests; it was not asked")
    if takes is not True:
        raise NoAnswerError("it was started with start(requests=False), and was not asked")
    return path


def _put(path: Path, asked: dict[str, Any], deadline: float) -> Request:
    user = path.stat().st_uid if hasattr(os, "fchown") else -1
    while True:
        request = Request.put(str(path), asked, user)
        if request is not None:
            return request
        if time.monotonic() > deadline:
            raise NoAnswerError("another one who asks has been waiting all that time")
        time.sleep(_PAUSE_S)


def _awaited(request: Request, reader: Reader, deadline: float, more_s: float) -> dict[str, Any]:
    was_taken = False
    while True:
        answer = request.answer()
        if answer is not None:
            return _parsed(answer)
        if not was_taken and request.is_taken:
            was_taken = True
            deadline = time.monotonic() + more_s
        if reader.state != "running":
            raise NoAnswerError("it ended before it answered")
        if time.monotonic() > deadline:
            raise NoAnswerError(_why_not(reader, was_taken))
        time.sleep(_PAUSE_S)


def _parsed(answer: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise NoAnswerError(f"its answer cannot be read: {error}") from error
    if not isinstance(parsed, dict):
        raise NoAnswerError("its answer is not a snapshot")
    return parsed


def _why_not(reader: Reader, was_taken: bool) -> str:
    if _is_stopped(reader):
        return "it is stopped (SIGSTOP, Ctrl-Z, or a debugger), and cannot answer; the request is withdrawn"
    interval_ms = int_or_none(reader.constants.get("sampling_interval_ms"))
    silent_ns = silence_ns(reader.state, reader.heartbeat_ns or None, interval_ms, time.time_ns())
    if silent_ns is not None:
        return (
            f"its sampler has not run for {duration_text(silent_ns)}: the interpreter is held in C code, or the "
            "machine has no time for it; the request is withdrawn (py-spy dump shows such a process from outside)"
        )
    if was_taken:
        return "it saw the request and did not answer in time; the request is withdrawn"
    return "it did not see the request in time; the request is withdrawn (--timeout waits longer)"


def _is_stopped(reader: Reader) -> bool:
    """Return whether the process is there and stopped, if it is one of this machine's."""
    pid, ticks = (int_or_none(reader.constants.get(name)) for name in ("pid", "process_start_ticks"))
    if pid is None or reader.constants.get("host") != _os_compat.host_name():
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return False
    return len(fields) > 19 and fields[0] in (b"T", b"t") and int(fields[19]) == ticks
