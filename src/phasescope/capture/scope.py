"""An open phase, as all of capture knows it: one class of plain slots, which a compiled type can stand in for."""

from __future__ import annotations

import threading

from phasescope import _native
from phasescope.capture.attributes import clean_name
from phasescope.wire.encoding import Raw, encode

TYPE_CHECKING = False  # see phasescope/__init__.py
if TYPE_CHECKING:
    from typing import Any

    from phasescope.capture.attributes import Scalar
    from phasescope.capture.collector import DeviceState
    from phasescope.capture.event_writer import EventWriter
    from phasescope.capture.phase_paths import Path


if TYPE_CHECKING or not _native.has_phases:

    class _ScopeSlots:
        __slots__ = (
            "allocated_on_entry",
            "device_state",
            "enter_sequence",
            "entered_ns",
            "entering_thread",
            "event_writer",
            "is_open",
            "mask_on_entry",
            "measure_marks",
            "parent_scope",
            "phase_attributes",
            "phase_name",
            "phase_path",
        )

        reentry_of: PhaseScope | None = None
        """A slot of such an entry; None here, so that no other need set it."""

else:
    _ScopeSlots = _native.core.PhaseSlots


class PhaseScope(_ScopeSlots):
    """The parts of a phase, and its figures at entry; whoever writes, samples or closes phases reads it here.

    Its slots are public within capture. Users derive from `phase`, which derives from this, and keep attributes of
    their own there: hence no methods, and names that nobody else would choose.
    """

    __slots__ = ()

    # Set when the phase is made.
    event_writer: EventWriter | None
    is_open: bool
    phase_attributes: dict[str, Scalar] | None
    phase_name: str

    # Set when it is entered under a session.
    allocated_on_entry: int
    device_state: DeviceState
    enter_sequence: int  # 0 until its enter is written
    entered_ns: int
    entering_thread: EnteringThread
    mask_on_entry: int
    measure_marks: tuple[int | None, Any]
    parent_scope: PhaseScope | None
    phase_path: Path

    reentry_of: PhaseScope | None  # the phase that this is a further entry of


class Exhausted(StopIteration):
    """Tells the exit of a fetch that it found no further item. Never raised."""


class EnteringThread:
    """The thread that entered a phase, already encoded for the ring; made once per thread."""

    __slots__ = ("encoded", "ident", "packed")

    def __init__(self) -> None:
        self.ident = threading.get_ident()
        self.packed = encode((self.ident, thread_name(self.ident)))
        self.encoded = Raw(self.packed)


def thread_name(ident: int) -> str:
    """Return the name of the calling thread. `threading.current_thread` would register an unknown one for good."""
    try:
        return next(clean_name(thread.name) for thread in threading.enumerate() if thread.ident == ident)
    except Exception:  # no such thread (one of a framework's own), or a `name` that is the training's code
        return f"thread {ident}"


def close_scope(
    scope: PhaseScope, writer: EventWriter, note: str | None, status: str = "abandoned", error_type: str | None = None
) -> None:
    """Write the exit of a phase whose own `__exit__` will not. Nothing is written twice."""
    now = writer.now()
    device = scope.device_state
    try:
        counters = device.collector.read(device.device_id)
    except Exception as error:
        counters = device.collector.read_failed(error)
    scope.is_open = False
    writer.exit(scope, now, counters, status, error_type, note, None)
