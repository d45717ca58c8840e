"""How a reader's session is doing or ended, and what happened to its memory, as it stands now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope import _os_compat
from phasescope.analysis.diagnosis.ending import EndingFold
from phasescope.analysis.event_fields import int_or_none
from phasescope.analysis.summary.summary import SummaryFold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.analysis.diagnosis.explanation import Explanation
    from phasescope.analysis.summary.summary import Summary
    from phasescope.readers.reader import Reader


LAST_EVENTS = 256
"""The number of events at the end that show how a session ended, if many are listed."""


class Moment(NamedTuple):
    """A session as it stood when it was looked at: before its events were read, so that an end is read as well, and
    ages do not count the time that reading takes."""

    state: str
    heartbeat_ns: int | None
    now_ns: int

    @classmethod
    def of(cls, reader: Reader) -> Moment:
        """Look at a reader's session now."""
        return cls(reader.state, reader.heartbeat_ns or None, time.time_ns())

    def ending(self, watch: EndingFold, fold: SummaryFold) -> Ending:
        """Return how it fared then, by what the two were fed with."""
        return watch.ending(self.state, fold.open_spans(), heartbeat_ns=self.heartbeat_ns, now_ns=self.now_ns)

    def ending_by(self, events: Iterable[Mapping[str, Any]]) -> Ending:
        """Return how it fared then, by these events, the last there were."""
        fold, watch = SummaryFold(), EndingFold()
        for event in events:
            watch.take(event, *fold.add(event))
        return self.ending(watch, fold)


def ending(reader: Reader, last: int | None = None) -> Ending:
    """Return how the session is doing or ended, by all its events or by the `last` ones."""
    return summary_and_ending(reader)[1] if last is None else _ending_by_last(reader, last)


def summary_and_ending(reader: Reader) -> tuple[Summary, Ending]:
    """Return both, from one pass over the events."""
    moment = Moment.of(reader)
    watch = EndingFold()
    fold = reader.fold(watch)
    return fold.summary(reader.missed, reader.damaged), moment.ending(watch, fold)


def _ending_by_last(reader: Reader, last: int) -> Ending:
    moment = Moment.of(reader)
    return moment.ending_by(reader.events(last))


def explain(reader: Reader) -> Explanation:
    """Return what happened to the session's memory."""
    from phasescope.analysis.diagnosis.evidence import EvidenceFold
    from phasescope.analysis.diagnosis.explanation import explain as explained

    moment = Moment.of(reader)
    watch = EvidenceFold()
    fold = reader.fold(watch)
    return explained(
        watch.evidence(
            fold,
            moment.state,
            heartbeat_ns=moment.heartbeat_ns,
            now_ns=moment.now_ns,
            oom_kills=oom_kills(reader),
            missed=(reader.missed, reader.damaged),
            constants=reader.constants,
        )
    )


def oom_kills(reader: Reader) -> int | None:
    """Return how many processes of the session's control group the kernel has killed since it began; None if that is
    not known."""
    path, before = reader.constants.get("oom_kills_path"), int_or_none(reader.constants.get("oom_kills"))
    if not isinstance(path, str) or before is None or reader.constants.get("host") != _os_compat.host_name():
        return None
    now = _os_compat.oom_kills_of(path)
    return None if now is None else max(0, now - before)
