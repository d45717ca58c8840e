"""start(), stop(), current(): the one session of a process, from its beginning to the end of the process."""

from __future__ import annotations

import atexit
import threading

from phasescope import _fork_hooks

TYPE_CHECKING = False  # see phasescope/__init__.py
if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Any

    from phasescope.backends.protocol import Backend
    from phasescope.capture.clock import Clock
    from phasescope.capture.session import Session

_FORKS_WAIT_S = 10.0  # loading takes a tenth of a second, on a machine that is overloaded a few

_session: Session | None = None
_unfinished: Session | None = None  # the same, and on until it is over in every part
_lock = threading.RLock()
_loading = threading.RLock()
"""Held as long as `start()` loads modules. A fork waits for it: in the child their locks would be held for ever."""


def start(
    *,
    backends: str | Sequence[str | Backend] = "auto",
    devices: int | Sequence[int] | None = None,
    interval_ms: int = 100,
    capacity_bytes: int = 16 * 2**20,
    directory: str | os.PathLike[str] | None = None,
    job_id: str | None = None,
    rank: int | None = None,
    local_rank: int | None = None,
    world_size: int | None = None,
    report_exceptions: Sequence[type[BaseException]] = (),
    peaks: bool = False,
    device_time: bool = False,
    warning_share: float | None = 0.9,
    critical_share: float | None = 0.97,
    warning_bytes: int | None = None,
    critical_bytes: int | None = None,
    oom_snapshot: str | os.PathLike[str] | None = None,
    record: str | os.PathLike[str] | None = None,
    record_bytes: int = 2**30,
    export: dict[str, Any] | None = None,
    census: bool = False,
    requests: bool = True,
    sites: bool = False,
    clock: Clock | None = None,
) -> Session:
    """Start a session, which is also a context manager. From now on phases are written.

    If a session is running already, that one is returned, with a warning if its options differ from these.

    Args:
        backends: "auto", or a list of names (`cpu`, `cuda`, `rocm`, …) and `Backend` objects. Phases measure the first
            one that the process uses; the host is always sampled beside it. "auto" skips silently those that cannot
            work here.
        devices: the device indices to measure; by default all that this process uses. A phase measures the calling
            thread's current device, if it is among them.
        interval_ms: the sampler's period.
        capacity_bytes: the size of the ring (64 KiB to 64 GiB). When it is full the oldest events are overwritten; the
            default holds about 100,000.
        directory: the place of the ring file, instead of `$PHASESCOPE_DIR` or a tmpfs. If no file can be made there is
            a warning, and the ring stays in memory, readable by this process alone.
        job_id: the job that this process is part of. By default it, `rank`, `local_rank` and `world_size` are those of
            the environment that the launcher made.
        rank: the number of this process in the job, from 0.
        local_rank: its number on this machine, from 0.
        world_size: the number of processes in the job.
        report_exceptions: exception classes that are also written as an `error` event when they leave a phase. Out of
            memory always is.
        peaks: measure exact peaks per phase, which nest, if the backend can reset its allocator's peak at boundaries.
            Off by default, because it changes the result of `torch.cuda.max_memory_allocated()` and its like.
        device_time: measure how long the device worked on each phase (CUDA and ROCm), by events on the current stream
            that are read later, without synchronising.
        warning_share: write a `warning` event when a device's memory in use passes this share of its total, from 0 to
            1; once per crossing. None: never.
        critical_share: the same for a `critical` event.
        warning_bytes: the same as `warning_share`, as a size. If both are given, the lower one counts.
        critical_bytes: the same as `critical_share`, as a size.
        oom_snapshot: a directory for torch's own memory snapshots (CUDA and ROCm), written when memory runs out, with
            the phases as labels: at most 3 files. For this torch records its allocations, at a small cost for each.
        record: also write all events to this file (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`), from a thread. An existing
            recording is continued. Each of several ranks adds its number to the name (`run.rank3.jsonl`); in a
            directory each process gets a file of its own.
        record_bytes: the limit of the recording on disk, all parts together (1 MiB or more). Beyond it the oldest part
            is removed.
        export: also send, serve or log the session's figures, from threads of this process: `{"otlp": URL}`,
            `{"prometheus": "[HOST]:PORT"}`, `{"tensorboard": DIR}`, `{"mlflow": URI}`, `{"wandb": PROJECT}` or
            several, with `interval_s`, `token_file` and `every_steps` as for `phasescope export`. Of several ranks
            each adds its local rank to the port. What is away, slow or full is not noticed by the training.
        census: count the live objects at the ends of steps 8, 16, 32, 64, … and find out who keeps those that become
            more with the steps. It takes at most 0.2 % of the run, or of two minutes. Needs the compiled core.
        requests: answer `phasescope snapshot` from another process of this user.
        sites: find out which lines allocate what grows: torch records it for its devices (CUDA, ROCm), and
            `tracemalloc` runs for the host, which makes Python code slower, up to several times. Turns on the census.
            What was on before stays as it was.
        clock: for tests (`phasescope.testing.FakeClock`).

    Raises ValueError or TypeError, naming the argument; BackendUnavailableError (a ValueError) if a backend that was
    asked for by name cannot work here; OSError if the recording cannot be written; ImportError, with the pip line, if
    a package for `export` or `record` is missing. The first call loads modules: OSError or MemoryError if no file
    descriptor or no memory is left for that.
    """
    global _session, _unfinished
    # Here, not above: a program may import the names long before it starts a session, or without ever starting one.
    # All of it: once a session runs nothing is imported, as memory may be running out.
    with _loading:
        from phasescope import _log
        from phasescope.capture import backend_selection, identity, phase, process_end, target_end
        from phasescope.capture.options import Options
        from phasescope.capture.session import Session

        phase.load_irregular_exits()
    options = Options.checked(
        backends=backends,
        devices=devices,
        interval_ms=interval_ms,
        capacity_bytes=capacity_bytes,
        directory=directory,
        job_id=job_id,
        rank=rank,
        local_rank=local_rank,
        world_size=world_size,
        report_exceptions=report_exceptions,
        peaks=peaks,
        device_time=device_time,
        warning_share=warning_share,
        critical_share=critical_share,
        warning_bytes=warning_bytes,
        critical_bytes=critical_bytes,
        oom_snapshot=oom_snapshot,
        record=record,
        record_bytes=record_bytes,
        export=export,
        clock=clock,
        census=census,
        requests=requests,
        sites=sites,
    )
    with _lock, _loading:  # backends are loaded by the session
        if _session is not None:
            different = options.differing(_session.options, _DEFAULTS)
            if different:
                backend_selection.choose(options.backends)  # a wrong one raises here too, though it would not count
                identity.identity(options)
                _log.warn(f"a session is running already; it keeps its own {', '.join(different)}")
            return _session
        session = Session(options, _take_away, _forget)
        try:
            _session = _unfinished = session
            session._begin()
            try:
                process_end.call_at_end_of_child(_stop_at_end_of_child)
                target_end.call_at_end_of_target(_target_ended)
            except Exception as error:
                _log.logger.debug("its end will not be seen: %s", type(error).__name__)
        except BaseException:  # Ctrl-C: leave no half of a session behind
            session._end("interrupted while it began")
            raise
        return session


_DEFAULTS: dict[str, Any] = start.__kwdefaults__ or {}


def stop() -> None:
    """End the running session, if there is one. Close the phases that are open as `abandoned`."""
    session = _session
    if session is not None:
        session.stop()


def current() -> Session | None:
    """Return the running session, or None."""
    return _session


def _take_away(session: Session) -> None:
    """Let phases do nothing any more, and another session begin: this one is ending."""
    global _session
    with _lock:
        if _session is session:
            _session = None
        session._leave_phases()


def _forget(session: Session) -> None:
    global _unfinished
    with _lock:
        if _unfinished is session:
            _unfinished = None


def script_ended(error: BaseException | None) -> None:
    """Note the exception that ended the script, None if it ended normally: for `phasescope run`, which knows."""
    session = _session
    if session is not None:
        session._note_end(error)


def _target_ended(error: BaseException | None) -> None:
    """Note the exception that ended a child's target. What its parent handled as it forked is not part of that."""
    session = _unfinished
    if session is not None:
        session._note_end(error, is_end=False)


def _stop_at_exit() -> None:
    session = _unfinished
    if session is not None:
        session._end_at_exit()


def _stop_at_end_of_child() -> None:
    session = _unfinished
    if session is not None:
        session._end_at_end_of_child()


def _forget_in_child() -> None:
    global _session, _unfinished, _lock, _loading
    session, _session, _unfinished = _unfinished, None, None
    _lock, _loading = threading.RLock(), threading.RLock()
    if session is not None:
        session._forget_in_child()


def _wait_for_loading() -> None:
    _loading.acquire(timeout=_FORKS_WAIT_S)


def _go_on_loading() -> None:
    try:
        _loading.release()
    except RuntimeError:  # it took too long, and this thread does not hold it
        return


atexit.register(_stop_at_exit)
_fork_hooks.around_fork(_wait_for_loading, _go_on_loading, _forget_in_child)
