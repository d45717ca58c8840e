"""The ending of a session, as far as its events, its state and its heartbeat show it.

For one that runs, that it runs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from phasescope.analysis.event_fields import int_or_none
from phasescope.analysis.formatting import (
    elide,
    path_text,
    printable,
    size_text,
)
from phasescope.analysis.liveness import disappeared_text, silence_ns, silent_text

from .exception_tracker import Raised, Unwinding, ended_by, is_same, raised_outside
from .host_pressure import HostRoom

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span

__all__ = ["Ending", "EndingFold", "OpenPhase"]

RUNNING, SILENT = "running", "silent"
FINISHED, EXCEPTION, KILLED = "finished", "exception", "killed"
UNKNOWN = "unknown"
DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY = "device_out_of_memory", "host_out_of_memory"

_MAX_OPEN = 64
_LONGEST_TEXT = 300
_LONGEST_WORDS = 180  # of an exception; `context` has more of them
_LONGEST_PATH = 80
_AFTER = " after "
_EXITS = ("SystemExit", "GeneratorExit")
_OF_EXIT = "SystemExit"
INTERRUPT = "KeyboardInterrupt"
_CLEAN = (None, "", "the interpreter exited")  # of a session: nothing was on its way out of it
_UNSURE = "stopped after "  # in an `except` or a `finally`
_UNSEEN = "not known"


@dataclass(frozen=True)
class OpenPhase:
    """A phase that was open at the end, or is open now, for `open_ns`; None means: not known."""

    path: tuple[str, ...]
    open_ns: int | None


@dataclass(frozen=True)
class Ending:
    """How a session is doing, or how it ended. Times in ns; None means: not known.

    `kind` is `running`, `silent` (the process exists, but gave no sign of life for `silent_ns`), `finished`,
    `exception`, `killed`, `device_out_of_memory`, `host_out_of_memory` or `unknown` (a recording that ends in the
    middle, or a child of multiprocessing's whose end could not be seen). `certain` is False if this is inferred. `text`
    is one line for a person. `last_ns` is the wall-clock time of the last sign of life. `error_type`, `context` (its
    message), `path` (its phase) and `requested_bytes` describe the exception, if there was one.
    """

    kind: str
    certain: bool
    text: str
    last_ns: int | None
    silent_ns: int | None
    error_type: str | None
    context: str | None
    path: tuple[str, ...] | None
    requested_bytes: int | None
    open_phases: tuple[OpenPhase, ...]

    @property
    def is_over(self) -> bool:
        """Whether the session is over."""
        return self.kind not in (RUNNING, SILENT)

    @property
    def is_good(self) -> bool:
        """Whether there is no sign that it went wrong."""
        return self.kind in (RUNNING, FINISHED, UNKNOWN)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON types."""
        return {
            **asdict(self),
            "path": None if self.path is None else list(self.path),
            "open_phases": [{"path": list(phase.path), "open_ns": phase.open_ns} for phase in self.open_phases],
        }


class EndingFold:
    """Takes events as they come and keeps, in bounded memory, what the ending is derived from."""

    ended = None  # exits that went well are not wanted

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._interval_ms: int | None = None
        self._stopped_with: str | None = None
        self._is_stopped = False
        self._ended_by: Raised | None = None
        self._abandoned: list[OpenPhase] = []
        self._unwinding = Unwinding()
        self._host = HostRoom()

    @property
    def raised(self) -> Mapping[object, object]:
        """Exceptions on their way.

        While there are any, every event must be taken, else what ended well may be left out.
        """
        return self._unwinding.raised

    def note_time(self, time_ns: int) -> None:
        """Note the time of an event that is left out."""
        if self._last_ns is None or time_ns > self._last_ns:
            self._last_ns = time_ns

    def take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> None:
        """Take the next event with its `scope_of` and the span that it ends, if any."""
        time_ns = int_or_none(event.get("timestamp_ns"))
        if time_ns is not None:
            self.note_time(time_ns)
        self._unwinding.take(event, scope, span)
        event_type = event.get("event_type")
        if event_type == "sample":
            self._host.take(event)
        elif event_type == "start":  # after a stop that did not come about, too
            self._is_stopped, self._stopped_with, self._ended_by = False, None, None
        elif event_type == "stop":
            self._is_stopped = True
            context = event.get("context")
            self._stopped_with = context if isinstance(context, str) else None
            self._ended_by = ended_by(event)
        elif span is not None and span.status == "abandoned" and len(self._abandoned) < _MAX_OPEN:
            self._abandoned.append(OpenPhase(span.path, span.duration_ns))
        if self._interval_ms is None:
            self._interval_ms = int_or_none(event.get("sampling_interval_ms"))

    def ending(
        self, state: str, open_spans: Iterable[Span] = (), *, heartbeat_ns: int | None = None, now_ns: int | None = None
    ) -> Ending:
        """Return the ending as known now.

        `state` is the reader's: `running`, `stopped`, `dead`, or `unknown` for a recording.
        """
        last_ns = max(filter(None, (self._last_ns, heartbeat_ns)), default=None)
        open_phases = self._open_phases(state, open_spans, now_ns if state == "running" else last_ns)
        silent_ns = silence_ns(state, heartbeat_ns, self._interval_ms, now_ns)
        kind, certain, text, raised = self._cause(state, silent_ns)
        return Ending(
            kind=kind,
            certain=certain,
            text=text,
            last_ns=last_ns,
            silent_ns=silent_ns,
            error_type=None if raised is None else raised.error_type,
            context=None if raised is None or raised.context is None else raised.context[:_LONGEST_TEXT],
            path=None if raised is None else raised.path,
            requested_bytes=None if raised is None else raised.requested_bytes,
            open_phases=open_phases,
        )

    def _open_phases(self, state: str, open_spans: Iterable[Span], until_ns: int | None) -> tuple[OpenPhase, ...]:
        if state == "stopped" and self._abandoned:
            return tuple(sorted(self._abandoned, key=lambda phase: len(phase.path)))
        phases = []
        for span in open_spans:
            has_times = span.start_ns is not None and until_ns is not None
            phases.append(OpenPhase(span.path, max(0, until_ns - span.start_ns) if has_times else None))  # type: ignore[operator]
        return tuple(phases[-_MAX_OPEN:])

    def _cause(self, state: str, silent_ns: int | None) -> tuple[str, bool, str, Raised | None]:
        if state == "running":
            if silent_ns is not None:
                return SILENT, True, silent_text(silent_ns), None
            return RUNNING, True, "running", None
        raised, ran_out = self._unwinding.last(), self._unwinding.ran_out()
        if state == "stopped":
            return self._stopped(raised, ran_out)
        if raised is not None and raised.out_of_memory:
            return _out_of_memory(raised, True)
        if raised is None and ran_out is not None:
            return _nothing_after(ran_out, "; then its process ended without a stop")
        if raised is not None:
            return EXCEPTION, False, f"{_exception_text(raised)}; then its process ended without a stop", raised
        if state != "dead":
            return UNKNOWN, True, "its events end here; whether the session did cannot be seen", None
        room = self._host.is_short()
        if room is not None:
            text = f"killed, probably for want of memory on the host: {room} at the last sample"
            return HOST_OUT_OF_MEMORY, False, text, None
        return KILLED, True, disappeared_text(), None

    def _stopped(self, raised: Raised | None, ran_out: Raised | None) -> tuple[str, bool, str, Raised | None]:
        if self._ended_by is not None:
            return self._as_told(self._ended_by, raised, ran_out)
        context = self._stopped_with or ""
        named = context.partition(_AFTER)[2] or None
        is_sure = named is not None and not context.startswith(_UNSURE)
        exits = (named or (None if raised is None else raised.error_type)) in _EXITS
        is_clean = named is None and (raised is None or (self._is_stopped and self._stopped_with in _CLEAN))
        if ran_out is not None and (exits or is_clean):  # caught further out, and then it was over
            return _nothing_after(ran_out, _exit_text(None if raised is None else raised.exit_code))
        if exits:
            return _exited(named or "", raised, is_sure)
        if raised is None and context.endswith(_UNSEEN):
            return UNKNOWN, True, _short(context), None
        if is_clean:  # any exception that left phases before was caught
            return FINISHED, self._is_stopped, "finished" + (f": {_short(context)}" if context else ""), None
        if raised is not None and named in (None, raised.error_type):
            # Without those words the last phase says so: the ring does not show what came after it.
            if raised.out_of_memory:
                return _out_of_memory(raised, is_sure)
            return EXCEPTION, is_sure, _exception_text(raised), raised
        return _outside(raised_outside(named or ""), ran_out if raised is None else raised, is_sure)

    def _as_told(
        self, stated: Raised, raised: Raised | None, ran_out: Raised | None
    ) -> tuple[str, bool, str, Raised | None]:
        """Return the ending that the stop states.

        `raised` is the same exception on its way through the phases, or another.
        """
        if stated.error_type is None and stated.exit_code:
            return _left_at_once(stated, raised, ran_out)
        same = raised is not None and is_same(raised, stated)
        if stated.error_type is None or stated.error_type in _EXITS:
            if ran_out is not None:
                return _nothing_after(ran_out, _exit_text(stated.exit_code))
            if stated.error_type is not None:
                return _exited(stated.error_type, raised if same else stated, True)
            context = f": {_short(self._stopped_with)}" if self._stopped_with else ""
            return FINISHED, True, f"finished{context}", None
        if raised is not None and raised.out_of_memory and (same or stated.out_of_memory):
            return _out_of_memory(raised, True)
        if raised is not None and same:
            return EXCEPTION, True, _exception_text(raised), raised
        return _outside(stated, ran_out if raised is None else raised, True)


def _outside(outside: Raised, raised: Raised | None, is_sure: bool) -> tuple[str, bool, str, Raised | None]:
    """Return the ending by an exception that only the stop states.

    `raised` is another one, that left the phases before.
    """
    if outside.out_of_memory:
        return _out_of_memory(outside, is_sure)
    if raised is not None and raised.out_of_memory and outside.error_type != INTERRUPT:
        return _out_of_memory(raised, False)  # most likely raised again as one of the program's own
    return EXCEPTION, is_sure, _exception_text(outside), outside


def _exited(name: str, raised: Raised | None, is_sure: bool) -> tuple[str, bool, str, Raised | None]:
    """Return the ending by `sys.exit`, seen when it left the phases, or known only by its name in the stop."""
    if raised is None or raised.error_type not in _EXITS:
        return FINISHED, True, f"finished with {_short(name)}", None
    if raised.exit_code:
        words = _short((raised.context or "").partition(_OF_EXIT)[2], _LONGEST_WORDS).rstrip(". ")  # ": no data"
        text = f"ended with exit code {raised.exit_code}{words}{_in(raised)}"
        return EXCEPTION, is_sure, text, raised
    return FINISHED, True, f"finished with {_short(raised.error_type or '')}{_in(raised)}", raised


def _left_at_once(
    stated: Raised, raised: Raised | None, ran_out: Raised | None
) -> tuple[str, bool, str, Raised | None]:
    """Return the ending by `os._exit` with a code that is not 0, after an exception if one has left the phases."""
    if raised is not None and raised.out_of_memory:
        return _out_of_memory(raised, True)
    if ran_out is not None:
        return _nothing_after(ran_out, _exit_text(stated.exit_code))
    if raised is None or raised.error_type in _EXITS:
        return EXCEPTION, True, f"ended by os._exit with exit code {stated.exit_code}", stated
    text = f"{_exception_text(raised)}; then by os._exit with exit code {stated.exit_code}"
    return EXCEPTION, False, text, raised


def _nothing_after(ran_out: Raised, then: str) -> tuple[str, bool, str, Raised | None]:
    """Return the ending of a training that began nothing after memory ran out and ended without an exception.

    By all signs the shortage ended it, whatever caught it.
    """
    kind, _, text, _ = _out_of_memory(ran_out, False)
    return kind, False, f"{text}; nothing was begun after it{then}", ran_out


def _exit_text(code: int | None) -> str:
    return "; the exit code is not known" if code is None else f"; exit code {code}"


def _out_of_memory(raised: Raised, is_sure: bool) -> tuple[str, bool, str, Raised | None]:
    return HOST_OUT_OF_MEMORY if raised.on_host else DEVICE_OUT_OF_MEMORY, is_sure, _memory_text(raised), raised


def _exception_text(raised: Raised) -> str:
    if raised.error_type == INTERRUPT:
        return f"interrupted with Ctrl-C{_in(raised)}"
    words = _short(raised.context or raised.error_type or "unknown", _LONGEST_WORDS).rstrip(". ")
    return f"ended by an exception: {words}{_in(raised)}"


def _memory_text(raised: Raised) -> str:
    where = "the host" if raised.on_host else raised.device or ("the device" if raised.path else "a device")
    within = _in(raised) or ", outside of any phase"
    asked = f"; tried to allocate {size_text(raised.requested_bytes)}" if raised.requested_bytes is not None else ""
    return f"out of memory on {printable(where)}{within}{asked}"


def _in(raised: Raised) -> str:
    return f", in {elide(path_text(raised.path), _LONGEST_PATH)}" if raised.path else ""


def _short(text: str, longest: int = _LONGEST_TEXT) -> str:
    return elide(printable(text), longest)
