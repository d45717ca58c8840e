"""The text of the metadata of boundaries that differ in numbers only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phasescope.analysis.summary.allocator_counts import KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCOPE, _ID, _THREAD, _SEQUENCE = '"phase_scope":', '"scope_id":', ',"thread_id":', '"sequence":'
_encode = msgspec.json.Encoder().encode


class Template(NamedTuple):
    """The text up to the phase, on to its number, and from the parent's id up to the boundary's number."""

    before: str
    head: str
    between: str

    @classmethod
    def of(cls, event: Mapping[str, Any], prefix: str) -> Template:
        """Return that of a boundary with nothing beyond its own but an allocator's counts, which are left out.

        `prefix` begins its phase's id, as JSON.
        """
        own = {key: value for key, value in event["metadata"].items() if key not in KEYS}
        text = _encode(own).decode()
        # A quote within a text is escaped: what looks like a key is one, and the first of each is the phase's own.
        place = text.index(_SCOPE)
        before, place = text[:place], text.index(_ID, place) + len(_ID)
        head, place = text[len(before) : place] + prefix, text.index(_THREAD, place)
        between = text[place : text.index(_SEQUENCE, place) + len(_SEQUENCE)]
        return cls(before, head, between)
