"""The envelopes of a ring's events. No event is made of a plain phase boundary until somebody asks for more of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.wire.codec import PayloadError
from phasescope.wire.envelope import packed_envelope, project_owned_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.wire.codec import Boundary, Decoder
    from phasescope.wire.envelope import ProjectedTelemetryRecord

    _Kinds = dict[bytes, ProjectedTelemetryRecord]

_MAX_KNOWN = 4096


class PackedEnvelopes:
    """Makes envelopes of payloads. `damaged` counts those that hold no event."""

    def __init__(self, decoder: Decoder) -> None:
        self.damaged = 0
        self._decoder = decoder
        self._kinds: dict[tuple[bytes, bytes, str], _Kinds] = {}
        self._learned = 0

    def of(self, payloads: Sequence[bytes]) -> list[ProjectedTelemetryRecord]:
        """Return the envelopes of these events."""
        envelopes: list[ProjectedTelemetryRecord] = []
        append, unpack = envelopes.append, self._decoder.event
        device: bytes | None = None
        thread: object = None
        for payload, decoded in zip(payloads, self._decoder.boundaries(payloads), strict=True):
            if decoded is None or decoded[0].context is not None:
                self._project(payload, envelopes)
                continue
            boundary, _, packed = decoded
            if packed is not device or boundary.thread != thread:
                device, thread = packed, boundary.thread
                entered, ended = self._kinds_of(boundary, device)
            kinds, path = entered if boundary.event_type == "phase_enter" else ended, bytes(boundary.path)
            like = kinds.get(path)
            if like is None:
                if self._project(payload, envelopes):
                    kinds[path] = envelopes[-1]
                    self._learned += 1
                continue
            append(packed_envelope(like, boundary.timestamp, payload, unpack))
        return envelopes

    def _kinds_of(self, boundary: Boundary, device: bytes) -> tuple[_Kinds, _Kinds]:
        """Return the kinds of phases entered there, and of those ended: whoever is one of them is sound, as its device,
        thread and path are those of an event."""
        if self._learned >= _MAX_KNOWN:  # the driver's figures are in the device, and change with every sample
            self._kinds.clear()
            self._learned = 0
        thread = bytes(boundary.thread)
        entered = self._kinds.setdefault((device, thread, "phase_enter"), {})
        return entered, self._kinds.setdefault((device, thread, "phase_exit"), {})

    def _project(self, payload: bytes, envelopes: list[ProjectedTelemetryRecord]) -> bool:
        """Append the envelope of any event; return whether it holds one."""
        try:
            event = self._decoder.event(payload)
        except PayloadError:
            self.damaged += 1
            return False
        envelopes.append(project_owned_event(event))
        return True
