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
from typing import TYPE_CHECKING, Any

from phasescope import _fork_hooks, _log
from phasescope.capture import identity, own_frames, phase_context, target_end
from phasescope.capture.sent_run import Carried, Run, SentRun

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from phasescope.capture.collectors import Collectors
    from phasescope.capture.event_writer import EventWriter
    from phasescope.capture.session import Session

_TRAINS = frozenset({"epoch", "step", "backward", "optimizer", "train", "fit"})
session_with_rank: str | None = None
"""The session that took the place of one that began before the process knew its rank."""

_run: Run | None = None
_hooked = False


def expect(run: Run) -> None:
    """Make the children of this process from now on its run's."""
    global _run, _hooked
    _run = run
    if _hooked:
        return
    _hooked = True
    _fork_hooks.after_fork_in_child(_wait_in_child)
    _integration("_imports").when_imported({"multiprocessing.spawn": _send_along})
    fits = _integration("_scopes").FitSession
    fits.waits, fits.awaited = staticmethod(waits), staticmethod(awaited)
    if run.instrument:
        _integration("_launchers").watch(command_of_child, rank_is_known, carried)


def begin(*run: Any) -> None:
    """In a child, wait for the first phase, and have imports marked."""
    expect(Run(*run))
    _wait_in_child()
    if _run is not None and _run.instrument:
        _integration("_auto").instrument_imports()


def _integration(name: str) -> Any:
    return importlib.import_module(f"phasescope.integrations.{name}")


def begin_around(loop: Callable[..., Any], *run: Any) -> Callable[..., Any]:
    """In a worker that may go on with other work, do the same, and end the session with the loop."""
    begin(*run)

    @functools.wraps(loop)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return loop(*args, **kwargs)
        finally:
            _script_ended(sys.exc_info()[1])
            with contextlib.suppress(Exception):
                phase_context.set_event_writer(None) if waits() else _stop()

    return call


def _stop() -> None:
    from phasescope.capture.running import stop

    stop()


def _wait_in_child() -> None:
    if _run is not None:
        identity.run_id = _run.job_id
        _be_quiet()
        phase_context.set_event_writer(_Waiting(_run))  # type: ignore[arg-type]


def _be_quiet() -> None:
    """Say nothing in this process: the one started by hand says for all of them what there is to say."""
    _log.aloud = False
    logger = logging.getLogger("phasescope")
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())  # else unhandled records go to standard error


def waits() -> bool:
    """Return whether this child still waits for its first phase."""
    writer: Any = phase_context.event_writer
    return type(writer) is _Waiting


def awaited() -> Session | None:
    """Return the session of a child that has waited for its first phase until now; None if none waits."""
    waiting: Any = phase_context.event_writer
    if not isinstance(waiting, _Waiting):
        return None
    with contextlib.suppress(Exception):
        waiting.begin()
    from phasescope.capture.running import current

    return current()


class _NotHere(Exception):
    """A process that only works for a training (a data loader's or a pool's) gets no session."""


class _Waiting:
    """Stands where a writer does, until a phase begins: then the session does, whose writer writes it.

    `phase` asks a writer for its collectors first. An exception raised there ends that phase before it began, silently.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.RLock()
        self._begun: EventWriter | None = None
        self._failed = False
        self.open: dict[Any, None] = {}
        self.dropped = self.irregular = 0

    @property
    def collectors(self) -> Collectors:
        if _is_loader_worker():
            phase_context.set_event_writer(None)
            raise _NotHere
        if _is_pool_worker() and _entered(sys._getframe(1)) not in _TRAINS:
            raise _NotHere
        return self.begin().collectors

    @property
    def now(self) -> Callable[[], int]:
        return self.begin().now

    def enter(self, scope: Any, *arguments: Any) -> None:
        writer = self.begin()
        scope.event_writer = writer
        writer.enter(scope, *arguments)

    def begin(self) -> EventWriter:
        """Return the writer of the session, which begins now at the latest."""
        with self._lock:
            if self._failed:
                raise _NotHere
            if self._begun is None:
                self._failed = True
                phase_context.set_event_writer(None)
                self._begun = _start(self._run)._writer
                self._failed = False
            return self._begun


def _start(run: Run) -> Session:
    from phasescope.capture.running import start

    if run.instrument:  # called newest first: the session, between these, knows an exception by its traceback
        target_end.call_at_end_of_target(own_frames.hide_in)
    session = start(**run.settings)
    if session.path is None:  # nobody could ever look at it
        session.stop()
        raise _NotHere
    if run.instrument:
        target_end.call_at_end_of_target(_script_ended)
    return session


def _script_ended(error: BaseException | None) -> None:
    """End the phases around a loop, where it ends."""
    with contextlib.suppress(Exception):
        _integration("_auto").script_ended(error)


def _entered(frame: Any) -> str | None:
    """Return the name of the phase whose `__enter__` this is."""
    return getattr(frame.f_locals.get("self"), "phase_name", None)


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


def carried(loop: Callable[..., Any]) -> Callable[..., Any]:
    """Return the loop as it is sent to ranks that Ray starts."""
    return loop if _run is None else Carried(loop, _run)


def _send_along(spawn: ModuleType) -> None:
    """Add the run to the data that a spawned process prepares itself with; it looks only at what it knows."""
    prepare = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = prepare(name)
        if _run is not None:
            data["phasescope"] = SentRun(_run)
        return data

    spawn.get_preparation_data = get_preparation_data  # type: ignore[attr-defined]


def command_of_child(command: list[str]) -> list[str]:
    """Return the command line of a rank that a framework starts: the same under `phasescope run`."""
    if _run is None or not command or command[0] != sys.executable:
        return command
    identity.run_id = _run.job_id  # this process is one of the ranks
    return [command[0], "-m", "phasescope", "run", *_run.options(), *command[1:]]


def rank_is_known() -> None:
    """Give way to a session that states its rank, if this one began before its process was one of several ranks."""
    global session_with_rank
    from phasescope.capture.running import current, start

    session = current()
    if _run is None or session is None or session._writer.open or session.pid != os.getpid():
        return
    before, now = session.identity, identity.identity(session.options)
    if before.world_size > 1 or now.world_size == 1:
        return
    has_phases = any(event["event_type"] == "phase_enter" for event in session.events())
    session.stop()
    session_with_rank = start(**_run.settings).session_id
    if not has_phases and session.path is not None:
        with contextlib.suppress(OSError):
            os.unlink(session.path)  # noqa: PTH108 - pathlib is not imported by a session
