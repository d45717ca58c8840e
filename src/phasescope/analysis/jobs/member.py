"""A session of a job as a comparison takes it: read event by event, or summed up by an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.analysis.spans import Span
    from phasescope.analysis.steps import Ended
    from phasescope.analysis.summary.summary import Summary

    from .clock_skew import Boundaries


class MemberView(Protocol):
    """One rank, as far as a comparison needs it beside the summary."""

    @property
    def entries(self) -> Mapping[tuple[str, ...], Ended]:
        """The phases that have ended, by path."""

    @property
    def peaks(self) -> Mapping[str, int]:
        """The largest allocation of each device, by its label."""

    @property
    def boundaries(self) -> Boundaries:
        """When it passed some of its phase boundaries."""

    @property
    def sequence(self) -> int | None:
        """The number of its last phase boundary."""

    def current(self) -> Sequence[Span]:
        """Return the innermost phase open in each thread, the one entered last at the end."""


class Member(NamedTuple):
    """A session of a job, read: its constants, and the view of its events."""

    constants: Mapping[str, Any]
    view: MemberView
    summary: Summary
    ending: Ending


def innermost(spans: Sequence[Span]) -> list[Span]:
    """Return those of the open phases inside which no other is open."""
    outer = {span.path[:-1] for span in spans}
    return [span for span in spans if span.path not in outer]
