"""start(), stop(), current(): wires backends, phases, sampler and ring, and takes them apart again."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope import _log, _os_compat
from phasescope._version import VERSION
from phasescope.backends import BACKENDS, DEVICE_SOURCES
from phasescope.capture import backend_selection, error_events, exception_info, identity, phases
from phasescope.capture.clock import SystemClock
from phasescope.capture.collectors import Sources
from phasescope.capture.event_writer import Recorder
from phasescope.capture.oom_snapshots import Snapshots
from phasescope.capture.options import Options
from phasescope.capture.sampler import Sampler
from phasescope.capture.thresholds import Thresholds
from phasescope.readers.ring_reader import RingReader
from phasescope.wire import ring_files, ring_sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from phasescope.analysis.summary.summary import Summary
    from phasescope.backends.protocol import Backend
    from phasescope.capture.clock import Clock
    from phasescope.capture.collector import Source
    from phasescope.readers.subscription import Subscription
    from phasescope.recordings.recorder import RecorderThread
    from phasescope.wire.envelope import ProjectedTelemetryRecord

_session: Session | None = None
_unfinished: Session | None = None  # the same, and on until it is over in every part
_lock = threading.RLock()
_MAX_ARGUMENT = 500
_MAX_ARGUMENTS = 100
_SUBSCRIBERS_SECONDS = 1.0
_RECORDING_SECONDS = 5.0
_AFTER_ALL_ELSE = -100
_OUTERMOST = ("<module>", "_run_module_as_main")
_stops_with = 0  # the child process in which sessions end with it
_left_mapped: list[Any] = []  # for good


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
    clock: Clock | None = None,
) -> Session:
    """Begin to record, and return the session (a context manager too). From now on phases are written.

    Where a session is running already, that one is returned, with a warning if it has not the options given here.

    backends: "auto", or a list of names (`cpu`, `cuda`, `rocm`) and Backend objects. Phases speak of the first one
        that the process uses; the host is always sampled beside it. "auto" is silent about what can not work here.
    devices: the device indices to look at; by default all that this process uses. Phases speak of the calling
        thread's current device, if it is among them.
    interval_ms: the sampler's period.
    capacity_bytes: how much the ring holds (64 KiB to 64 GiB); the oldest events are overwritten. About 100,000
        events fit the default.
    directory: where the ring file lies, instead of `$PHASESCOPE_DIR` or a tmpfs. Where no file can be had there is a
        warning, and the ring lives in memory, for this process alone.
    job_id, rank, local_rank, world_size: by default from torchrun's, Open MPI's or Slurm's environment.
    report_exceptions: exception classes that, leaving a phase, are written as an `error` event as well.
        Out of memory always is.
    peaks: exact peaks per phase, that nest, where the backend can reset its allocator's peak at boundaries. Off by
        default, since that changes what `torch.cuda.max_memory_allocated()` and its like tell you.
    device_time: how long the device worked on each phase (CUDA and ROCm), by events on the current stream that are
        read later, without synchronising.
    warning_share, critical_share: write a `warning` or `critical` event when a device's memory in use passes this
        share of its total; once per crossing. None: never.
    warning_bytes, critical_bytes: the same as sizes; where both are given, the lower one counts.
    oom_snapshot: a directory for torch's own memory snapshots (CUDA and ROCm), written when memory runs out, with the
        phases as labels: at most 3 files. It lets torch record its allocations, which costs a little at each of them.
    record: also write all events to this file (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`), from a thread; an existing
        recording is continued. Of several ranks each adds its own to the name (`run.rank3.jsonl`); in a directory
        each process gets a file of its own.
    record_bytes: how much the recording may take on disk, all its parts together (1 MiB and more); the oldest part
        is removed.
    clock: for tests (`phasescope.testing.FakeClock`).

    Raises ValueError or TypeError naming the argument, and `BackendUnavailableError` (a ValueError) for a backend
    that was asked for by name and can not work here, and OSError for a recording that can not be written.
    """
    global _session, _unfinished
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
        clock=clock,
    )
    with _lock:
        if _session is not None:
            different = options.differing(_session.options, _DEFAULTS)
            if different:
                backend_selection.choose(options.backends)  # what is wrong raises here too, though it would not count
                identity.identity(options)
                _log.warn(f"a session is running already; it keeps its own {', '.join(different)}")
            return _session
        session = Session(options)
        try:
            _session = _unfinished = session
            session._begin()
        except BaseException:  # Ctrl-C: leave no half of a session behind
            session._end("interrupted while it began")
            raise
        return session


_DEFAULTS: dict[str, Any] = start.__kwdefaults__ or {}


def stop() -> None:
    """End the running session, if there is one. Phases that are open are closed as `abandoned`."""
    session = _session
    if session is not None:
        session.stop()


def current() -> Session | None:
    """The running session, or None."""
    return _session


class Diagnosis(NamedTuple):
    """Whether one source of counters can work here, and if not, why and what would help."""

    name: str
    kind: str
    works: bool
    reason: str
    remedy: str


def diagnose() -> list[Diagnosis]:
    """Every backend and driver this package knows, asked in this process. May import frameworks; initialises none."""
    found = []
    for kind, paths in (("backend", BACKENDS), ("device source", DEVICE_SOURCES)):
        for name, path in paths.items():
            try:
                unavailable = backend_selection.load(path).why_not()
            except Exception as error:
                unavailable = (f"{type(error).__name__} while asking", "please report this")
            reason, remedy = unavailable or ("", "")
            found.append(Diagnosis(name, kind, unavailable is None, reason, remedy))
    return found


class Session:
    """One recording. Made by `start()`.

    All that it shows it reads back from its own ring, as any other process would.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.pid = os.getpid()
        self.identity = identity.identity(options)
        self.session_id = os.urandom(16).hex()
        self.degraded = 0
        self._clock: Clock = options.clock or SystemClock()
        self._ending = threading.RLock()
        self._last_words = False
        self._ended_by: dict[str, Any] | None = None
        self._released = False
        self._subscriptions: list[Subscription] = []
        chosen, drivers = backend_selection.choose(options.backends)
        self._sources = Sources(
            chosen,
            drivers,
            options.devices,
            self._clock.monotonic_ns,
            self._source_event,
            peaks=options.peaks,
            device_time=options.device_time,
            snapshots=Snapshots(options.oom_snapshot, self.session_id) if options.oom_snapshot else None,
        )
        constants = self._constants([backend.name for backend in chosen])
        self._ring = self._create_ring(json.dumps(constants).encode(), constants)
        try:
            self._file = None if self._ring.fd is None else os.fstat(self._ring.fd)
            self._recorder = Recorder(self._ring.writer, self._clock.monotonic_ns, self._clock.wall_ns)
            self._recorder.report_exceptions = options.report_exceptions
            self._recorder.sources = self._sources
            thresholds = Thresholds(
                (options.critical_share, options.warning_share), (options.critical_bytes, options.warning_bytes)
            )
            self._sampler = Sampler(
                self._recorder, self._sources, self._clock, options.interval_ms, thresholds, self.session_id
            )
            self._reader = self._open_reader(None)
            self._recording = None if options.record is None else self._open_recording(options.record, constants)
        except BaseException:
            self._discard()
            raise

    def _open_recording(self, path: str, constants: dict[str, Any]) -> RecorderThread:
        from phasescope.recordings.recorder import RecorderThread, recorder_inside  # for those who ask for it

        return RecorderThread(recorder_inside(self.reader, path, constants, self.options.record_bytes))

    def _constants(self, backends: list[str]) -> dict[str, Any]:
        """What the ring's header says of the session; the reader adds it to every event."""
        return _text_of(self._told(backends))

    def _told(self, backends: list[str]) -> dict[str, Any]:
        return {
            "session_id": self.session_id,
            "host": _os_compat.host_name(),
            "pid": self.pid,
            "process_start_ticks": _os_compat.process_start_ticks(),
            "started_ns": self._clock.wall_ns(),
            "command": [argument[:_MAX_ARGUMENT] for argument in _os_compat.command_line()[:_MAX_ARGUMENTS]],
            "python": sys.version.partition(" ")[0],
            "version": VERSION,
            **self.identity._asdict(),
            "sampling_interval_ms": self.options.interval_ms,
            "backends": backends,
            "capacity_bytes": self.options.capacity_bytes,
            **_kernel_kills(),
        }

    def _create_ring(self, text: bytes, constants: dict[str, Any]) -> ring_files.RingFile:
        capacity, directory = self.options.capacity_bytes, self.options.directory
        host = re.sub(r"[^A-Za-z0-9._]", "_", constants["host"])[:64]
        name = f"{host}-{self.pid}-{constants['started_ns'] // 1_000_000}"
        try:
            ring_sweep.sweep(directory)
            return ring_files.create(text, capacity, directory, name)
        except OSError as error:
            why = str(error) if isinstance(error, ring_files.DirectoryError) else f"{error.strerror or error}"
            _log.warn(f"no ring file, so other processes can not look in: {why}", stacklevel=4)
            return ring_files.create_in_memory(text, capacity)

    def _begin(self) -> None:
        with contextlib.suppress(Exception):
            list(self._sources.sample())  # so that the first event already knows its device
        self._note("start", None)
        self._sampler.start()
        if self._recording is not None:
            self._recording.start()
        phases.set_recorder(self._recorder)
        with contextlib.suppress(Exception):
            _stop_with_child()

    def stop(self) -> None:
        """End the session. Phases that are open are closed as `abandoned`. Stopping twice does nothing."""
        error = sys.exc_info()[0]  # of an `except` or a `finally` around this; which of them can not be told
        self._end(None if error is None else f"stopped after {error.__name__}")

    def _note_end(self, error: BaseException | None, is_end: bool = True) -> None:
        """Keep for the stop what ended the script (or what left this session, where that is not `is_end`)."""
        if self._ended_by is None and not self._recorder.closed and os.getpid() == self.pid:
            try:
                self._ended_by = error_events.note_end(self._recorder, error, is_end)
            except Exception:
                self._recorder.dropped += 1

    def _end(self, context: str | None) -> None:
        """All that ends a session. Called again it takes up what an exception (Ctrl-C) broke off."""
        global _session, _unfinished
        if os.getpid() != self.pid or self._released:
            return
        with self._ending:
            with _lock:
                if _session is self:
                    _session = None
                phases.unset_recorder(self._recorder)
            self._sampler.stop()
            self._close_phases()
            with (
                self._recorder.lock
            ):  # a thread that was in the middle of a boundary comes before the end, or not at all
                self._close_phases()
                with contextlib.suppress(Exception):
                    self._sampler.last_look()
                self._note_stop(context)
                self._recorder.close(self._release)
            self._sources.close()
            if self._recorder.closed:  # else `stop` was called inside of a write, which goes on when this returns
                self._release()
                self._join_subscriptions()
                if self._recording is not None:
                    self._recording.finish(_RECORDING_SECONDS)
            with _lock:
                if _unfinished is self:
                    _unfinished = None

    def _close_phases(self) -> None:
        for scope in reversed(list(self._recorder.open)):
            with contextlib.suppress(Exception):
                scope._close(self._recorder, "the session stopped while it was open")

    def _note_stop(self, context: str | None) -> None:
        if not self._last_words:
            self._last_words = True
            self._note("stop", context, self._ended_by)

    def _join_subscriptions(self) -> None:
        deadline = time.monotonic() + _SUBSCRIBERS_SECONDS
        for subscription in self._subscriptions:
            subscription.join(max(0.0, deadline - time.monotonic()))

    def _release(self) -> None:
        """Give back the file's unused end, and its lock. In memory the ring stays readable as long as the session."""
        fd = self._ring.fd
        if self._released or fd is None:
            self._released = True
            return
        if not self._is_ours(fd):
            # Python closes the mapping's own copy of the descriptor with it, whichever file has that number by now.
            _left_mapped.append(self._ring.buffer)
            self._released = True
            return
        self._released = True
        writer = self._ring.writer
        used = writer.used_bytes
        with contextlib.suppress(OSError, ValueError, BufferError):
            writer.release()
            self._ring.buffer.close()
            if writer.memory is None:
                os.truncate(fd, used)
        with contextlib.suppress(OSError):
            os.close(fd)

    def _discard(self) -> None:
        """Of a session that never began nothing stays."""
        fd, path = self._ring.fd, self._ring.path
        if fd is not None and path is not None and self._is_ours(fd):
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - pathlib is not imported by a session
        self._release()

    def _is_ours(self, fd: int) -> bool:
        """Whether the descriptor is still that of the ring. Daemons close all they find, and their next file may get
        the same number: that one must be neither cut nor closed."""
        try:
            return self._file is not None and os.path.samestat(os.fstat(fd), self._file)
        except OSError:
            return False

    def _forget_in_child(self) -> None:
        """In a forked child: the ring, and the lock that says its writer lives, are the parent's alone."""
        self._recorder.abandon_in_child()
        if self._recording is not None:
            self._recording.recorder.abandon_in_child()
        fd = self._ring.fd
        if fd is not None and self._is_ours(fd):
            with contextlib.suppress(OSError):
                os.close(fd)

    def _note(self, event_type: str, context: str | None, extra: dict[str, Any] | None = None) -> None:
        try:
            state = self._sources.device_state()
            try:
                counters = state.source.read(state.device_id)
            except Exception as error:
                counters = state.source.read_failed(error)
            self._recorder.note(event_type, state, counters, None, context, extra)
        except Exception as error:
            self._recorder.dropped += 1
            _log.log_once(f"note {event_type}", "%s could not be written: %s", event_type, type(error).__name__)

    def _source_event(self, event_type: str, source: Source, text: str) -> None:
        if event_type == "collector_degraded":
            self.degraded += 1
            _log.log_once(f"degraded {text}", "%s; asking again with growing pauses", text)
        self._recorder.note(event_type, source.any_state(), None, None, text)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is not None:
            self._note_end(exc, is_end=False)
        self._end(None if exc_type is None else f"left after {exc_type.__name__}")

    def __repr__(self) -> str:
        state = "stopped" if self._recorder.closed else "running"
        return f"<phasescope.Session {self.session_id}, {state}, {self.path or 'in memory'}>"

    def _repr_html_(self) -> str | None:
        """What a notebook shows: how the session stands, and its summary. None, and so the plain text, on failure."""
        from phasescope.analysis.text.summary_html import summary_html

        try:
            return summary_html(self.summary(), repr(self))
        except (OSError, ValueError):
            return None

    @property
    def path(self) -> str | None:
        """The ring file, or None where the ring lives in memory."""
        return self._ring.path

    @property
    def written(self) -> int:
        """How many events were written."""
        return self._ring.writer.sequence

    @property
    def dropped(self) -> int:
        """How many events could not be written."""
        return self._recorder.dropped

    @property
    def irregular(self) -> int:
        """How many phases were closed twice, or after the session that they belong to."""
        return self._recorder.irregular

    def reader(self) -> RingReader:
        """A reader of this session's ring, as `attach()` gives one; also where the file was removed meanwhile."""
        return self._open_reader(self._reader)

    def _open_reader(self, other: RingReader | None) -> RingReader:
        writer = self._ring.writer
        if self._ring.path is not None:
            return RingReader.of_own(self._ring.path, lambda: writer.memory, self._recorder.beat, other)
        buffer = self._ring.buffer
        return RingReader(lambda size, offset: bytes(buffer[offset : offset + size]), lambda: len(buffer), None)

    def events(self, last: int | None = None) -> list[dict[str, Any]]:
        """The events that the ring holds, or the last so many: TelemetryEvent v3 dicts, the oldest first."""
        return self._reader.events(last)

    def records(self, last: int | None = None) -> list[ProjectedTelemetryRecord]:
        """The same as envelopes."""
        return self._reader.records(last)

    def latest(self) -> dict[str, Any] | None:
        """The newest event."""
        return self._reader.latest()

    def summary(self) -> Summary:
        """The table by phase path; `print` shows it, `rows` has it as data. It covers what the ring still holds."""
        return self._reader.summary()

    def subscribe(self, callback: Callable[[ProjectedTelemetryRecord], object]) -> Subscription:
        """Call `callback` with each new envelope, in a thread of its own; close the subscription to end it.

        A callback that is too slow misses envelopes (`missed`); one that raises goes on with the next (`errors`).
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not a {type(callback).__name__}")
        from phasescope.readers.subscription import Subscription  # with the envelope, and so hashlib and OpenSSL

        subscription = Subscription(self.reader(), callback)
        self._subscriptions = [each for each in self._subscriptions if each.running] + [subscription]
        return subscription


def _text_of(told: dict[str, Any]) -> dict[str, Any]:
    """With text that every format can hold: arguments and environment variables may be any bytes."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(each) for each in value]
        return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value

    return {key: plain(value) for key, value in told.items()}


def _kernel_kills() -> dict[str, Any]:
    """What tells afterwards whether the kernel's OOM killer has struck meanwhile."""
    found = _os_compat.oom_kills()
    return {} if found is None else {"oom_kills_path": found[0], "oom_kills": found[1]}


def script_ended(error: BaseException | None) -> None:
    """Say what ended the script, None where it came to its end: of `phasescope run`, which knows."""
    session = _session
    if session is not None:
        session._note_end(error)


def _stop_at_exit() -> None:
    session = _unfinished
    if session is not None:
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        if hasattr(sys, "ps1"):  # where a person types, it is one that the session went on after
            error = None
        if _has_ended_script(error):
            session._note_end(error)
        context = _exited() + (f" after {type(error).__name__}" if error is not None else "")
        session._end(context)


def _has_ended_script(error: BaseException | None) -> bool:
    """Whether it left the script itself: a test runner keeps there as well what it has caught."""
    trace = exception_info.traceback_of(error)
    return trace is not None and trace.tb_frame.f_code.co_name in _OUTERMOST


def _exited() -> str:
    """A child of multiprocessing's catches what its target raises, and exits as if nothing had been: that is told."""
    return f"the interpreter{' of a child process' if _is_child() else ''} exited"


def _is_child() -> bool:
    multiprocessing = sys.modules.get("multiprocessing.process")
    return multiprocessing is not None and multiprocessing.parent_process() is not None


def _stop_with_child() -> None:
    """See to it that a session ends with a child of multiprocessing's: a forked one leaves by `os._exit`, and all that
    runs then is what is registered with multiprocessing itself."""
    global _stops_with
    if _stops_with != os.getpid() and _is_child():
        _stops_with = os.getpid()
        sys.modules["multiprocessing.util"].Finalize(None, _stop_at_end_of_child, exitpriority=_AFTER_ALL_ELSE)


def _stop_at_end_of_child() -> None:
    """What its target raised is on its way just now."""
    session, error = _unfinished, sys.exc_info()[1]
    if session is not None:
        session._note_end(error)
        session._end(_exited() + (f" after {type(error).__name__}" if error is not None else ""))


def _forget_in_child() -> None:
    global _session, _unfinished, _lock
    session, _session, _unfinished = _unfinished, None, None
    _lock = threading.RLock()
    if session is not None:
        session._forget_in_child()


atexit.register(_stop_at_exit)
_os_compat.after_fork_in_child(_forget_in_child)
