"""The processes of one `phasescope run`: each that trains has a session of its own, begun with its first phase.

Nothing is left in the environment for others to inherit. A forked child is known by the hook of `fork`; one that
multiprocessing spawns, or has a fork server make, by what its parent sends it to prepare itself with; one that
Lightning starts by its command line; one of Ray's by the loop that it is sent. Whatever fails here, the child runs on
without a session, and says nothing.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope import _log, _os_compat
from phasescope.capture import identity, own_frames, phases

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from phasescope.capture.collectors import Sources
    from phasescope.capture.event_writer import Recorder
    from phasescope.capture.session import Session

_TRAINS = frozenset({"epoch", "step", "backward", "optimizer", "train", "fit"})
_AFTER_SESSION = -101  # which knows an exception by its traceback, and ends at -100
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


class Run(NamedTuple):
    """What the processes of a run have in common."""

    job_id: str
    directory: str | None
    interval_ms: int
    instrument: bool

    def options(self) -> list[str]:
        """The command line of `phasescope run` for a child."""
        place = [] if self.directory is None else ["--dir", self.directory]
        instrument = [] if self.instrument else ["--no-instrument"]
        return ["--child-of", self.job_id, "--interval-ms", str(self.interval_ms), *place, *instrument]


session_with_rank: str | None = None
"""The session that took the place of one that began before the process knew its rank."""

_run: Run | None = None
_hooked = False


def expect(run: Run) -> None:
    """From now on the children of this process are its run's."""
    global _run, _hooked
    _run = run
    if _hooked:
        return
    _hooked = True
    _os_compat.after_fork_in_child(_wait_in_child)
    _integration("_imports").when_imported({"multiprocessing.spawn": _send_along})
    fits = _integration("_scopes").FitSession
    fits.waits, fits.awaited = staticmethod(waits), staticmethod(awaited)
    if run.instrument:
        _integration("_launchers").watch(command_of_child, rank_is_known, carried)


def begin(*run: Any) -> None:
    """In a child: wait for the first phase, and have what is imported marked."""
    expect(Run(*run))
    _wait_in_child()
    if _run is not None and _run.instrument:
        automatic = _integration("_auto")
        own_frames.hide(os.path.dirname(automatic.__file__))  # noqa: PTH120 - pathlib is not imported by a session
        automatic.instrument_imports()


def _integration(name: str) -> Any:
    return importlib.import_module(f"phasescope.integrations.{name}")


def begin_around(loop: Callable[..., Any], *run: Any) -> Callable[..., Any]:
    """In a worker that may go on with other work: the same, and the session ends with the loop."""
    begin(*run)

    @functools.wraps(loop)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return loop(*args, **kwargs)
        finally:
            _script_ended()
            with contextlib.suppress(Exception):
                phases.set_recorder(None) if waits() else _stop()

    return call


def _stop() -> None:
    from phasescope.capture.session import stop

    stop()


def _wait_in_child() -> None:
    if _run is not None:
        identity.run_id = _run.job_id
        _be_quiet()
        phases.set_recorder(_Waiting(_run))  # type: ignore[arg-type]


def _be_quiet() -> None:
    """The process that was started by hand says for all of them what is to be said."""
    _log.aloud = False
    logger = logging.getLogger("phasescope")
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())  # else what nobody handles goes to standard error


def waits() -> bool:
    """Whether this child still waits for its first phase."""
    recorder: Any = phases._recorder
    return type(recorder) is _Waiting


def awaited() -> Session | None:
    """The session of a child that has waited for its first phase until now; None where none waits."""
    waiting: Any = phases._recorder
    if not isinstance(waiting, _Waiting):
        return None
    with contextlib.suppress(Exception):
        waiting.begin()
    from phasescope.capture.session import current

    return current()


class _NotHere(Exception):
    """What works for a training (a data loader's or a pool's process), and does not train itself, gets no session."""


class _Waiting:
    """Stands where a recorder does, until a phase begins: then the session does, whose recorder writes it.

    `phase` asks a recorder for its sources first. What is raised there ends that phase before it began, silently.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.RLock()
        self._begun: Recorder | None = None
        self._failed = False
        self.open: dict[Any, None] = {}
        self.dropped = self.irregular = 0

    @property
    def sources(self) -> Sources:
        if _is_loader_worker():
            phases.set_recorder(None)
            raise _NotHere
        if _is_pool_worker() and _entered(sys._getframe(1)) not in _TRAINS:
            raise _NotHere
        return self.begin().sources

    @property
    def now(self) -> Callable[[], int]:
        return self.begin().now

    def enter(self, scope: Any, *arguments: Any) -> None:
        recorder = self.begin()
        scope._recorder = recorder
        recorder.enter(scope, *arguments)

    def begin(self) -> Recorder:
        """The recorder of the session, which begins now at the latest."""
        with self._lock:
            if self._failed:
                raise _NotHere
            if self._begun is None:
                self._failed = True
                phases.set_recorder(None)
                self._begun = _start(self._run)._recorder
                self._failed = False
            return self._begun


def _start(run: Run) -> Session:
    from phasescope.capture.session import start

    session = start(directory=run.directory, interval_ms=run.interval_ms)
    if session.path is None:  # nobody could ever look at it
        session.stop()
        raise _NotHere
    _close_with_child(run)
    return session


def _close_with_child(run: Run) -> None:
    """What lies around a loop ends where multiprocessing's child does, and before its session."""
    process, util = (sys.modules.get(f"multiprocessing.{name}") for name in ("process", "util"))
    if run.instrument and process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, _script_ended, exitpriority=0)
        util.Finalize(None, _hide_our_frames, exitpriority=_AFTER_SESSION)


def _script_ended() -> None:
    with contextlib.suppress(Exception):
        _integration("_auto").script_ended(sys.exc_info()[1])


def _hide_our_frames() -> None:
    """What its target raised is on its way just now, and multiprocessing prints it next."""
    with contextlib.suppress(Exception):
        own_frames.hide_in(sys.exc_info()[1])


def _entered(frame: Any) -> str | None:
    """The name of the phase whose `__enter__` this is."""
    return getattr(frame.f_locals.get("self"), "_name", None)


def _is_loader_worker() -> bool:
    worker = sys.modules.get("torch.utils.data._utils.worker")
    return getattr(worker, "_worker_info", None) is not None


def _is_pool_worker() -> bool:
    process = sys.modules.get("multiprocessing.process")
    if process is None:
        return False
    this: Any = process.current_process()
    target = getattr(this, "_target", None)
    return "PoolWorker" in this.name or getattr(target, "__name__", None) == "_process_worker"


class _Sent:
    """Unpickled in a child, it begins there. It names nothing of ours: the child may be a Python without us."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (_IN_CHILD.format(tuple(self._run)), {}))


class Carried:
    """A function that is sent to a worker of a cluster's. There it is itself again, begun around where we are."""

    def __init__(self, loop: Callable[..., Any], run: Run) -> None:
        self._loop, self._run = loop, run
        functools.update_wrapper(self, loop)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._loop(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        code = _IN_WORKER.format(tuple(self._run))
        return (eval, ("exec(code, there) or there['loop']", {"code": code, "there": {"loop": self._loop}}))


def carried(loop: Callable[..., Any]) -> Callable[..., Any]:
    """For ranks that Ray starts: the loop as it is sent to them."""
    return loop if _run is None else Carried(loop, _run)


def _send_along(spawn: ModuleType) -> None:
    """What a spawned process is sent to prepare itself with goes through here; it looks only at what it knows."""
    prepare = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = prepare(name)
        if _run is not None:
            data["phasescope"] = _Sent(_run)
        return data

    spawn.get_preparation_data = get_preparation_data  # type: ignore[attr-defined]


def command_of_child(command: list[str]) -> list[str]:
    """The command line of a rank that a framework starts: the same under `phasescope run`."""
    if _run is None or not command or command[0] != sys.executable:
        return command
    identity.run_id = _run.job_id  # this process is one of the ranks
    return [command[0], "-m", "phasescope", "run", *_run.options(), *command[1:]]


def rank_is_known() -> None:
    """A session that began before its process was one of several ranks gives way to one that says which it is."""
    global session_with_rank
    from phasescope.capture.session import current, start

    session = current()
    if _run is None or session is None or session._recorder.open or session.pid != os.getpid():
        return
    before, now = session.identity, identity.identity(session.options)
    if before.world_size > 1 or now.world_size == 1:
        return
    has_phases = any(event["event_type"] == "phase_enter" for event in session.events())
    session.stop()
    session_with_rank = start(directory=_run.directory, interval_ms=_run.interval_ms).session_id
    if not has_phases and session.path is not None:
        with contextlib.suppress(OSError):
            os.unlink(session.path)  # noqa: PTH108 - pathlib is not imported by a session
