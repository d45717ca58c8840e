"""A run as its processes send it to each other: in a command line, with a child's preparation data, or around
the function that a cluster's worker is to call."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_IN_CHILD = """
try:
    from phasescope.capture.child_sessions import begin
    begin(*{})
except Exception:
    pass
"""
_IN_WORKER = """
try:
    from phasescope.capture.child_sessions import begin_around
    loop = begin_around(loop, *{})
except Exception:
    pass
"""


OPTIONS = {
    "directory": "--dir",
    "interval_ms": "--interval-ms",
    "capacity_bytes": "--capacity",
    "peaks": "--peaks",
    "device_time": "--device-time",
    "oom_snapshot": "--oom-snapshot",
    "record": "--record",
    "record_bytes": "--record-bytes",
    "census": "--no-census",
    "sites": "--sites",
}
"""The options of `start()` that `phasescope run` has, and their names there."""


class Run(NamedTuple):
    """The facts that the processes of a run have in common. `settings` are those that `start()` takes."""

    job_id: str
    instrument: bool
    settings: dict[str, Any]

    def options(self) -> list[str]:
        """Return the command line of `phasescope run` for a child."""
        instrument = [] if self.instrument else ["--no-instrument"]
        given = (word for name, value in self.settings.items() for word in _words(OPTIONS[name], value))
        return ["--child-of", self.job_id, *instrument, *given]


def _words(option: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [option] if value != option.startswith("--no-") else []
    return [option, str(value)]


class SentRun:
    """A run that begins where it is unpickled. It names nothing of ours: the child may be a Python without us."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (_IN_CHILD.format(tuple(self._run)), {}))


class Carried:
    """A function that is sent to a worker of a cluster.

    There it is itself again, with its session around it if this package is installed there.
    """

    def __init__(self, loop: Callable[..., Any], run: Run) -> None:
        self._loop, self._run = loop, run
        functools.update_wrapper(self, loop)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._loop(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        code = _IN_WORKER.format(tuple(self._run))
        return (eval, ("exec(code, there) or there['loop']", {"code": code, "there": {"loop": self._loop}}))
