"""Which ranks of a session's job ended badly: one rank alone may look healthy, while another was killed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.diagnosis.ending import EndingFold
from phasescope.analysis.jobs.grouping import rank_of
from phasescope.analysis.summary.summary import SummaryFold
from phasescope.cli._session_args import moment, number

if TYPE_CHECKING:
    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.readers.reader import Reader
    from phasescope.views.catalogue import Entry

_MOST_RANKS = 64
_LAST_EVENTS = 4096  # an end is told by the last of them


class FailedRank(NamedTuple):
    """A rank that did not end well, and where its ring lies."""

    rank: int
    pid: int | None
    path: str
    ending: Ending

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "rank": self.rank,
            "pid": self.pid,
            "path": self.path,
            "kind": self.ending.kind,
            "text": self.ending.text,
            "last_ns": self.ending.last_ns,
        }


def failed_ranks(reader: Reader) -> list[FailedRank]:
    """Those of the job that this ring belongs to, itself among them, the one that ended first in front.

    Looked for where the ring lies; of a recording, or a session that is no rank of several, there are none.
    """
    from phasescope.views.catalogue import Catalogue, key_of

    world_size = number(reader.constants.get("world_size"))
    if reader.path is None or reader.path.suffix != ".ring" or world_size is None or world_size < 2:
        return []
    catalogue = Catalogue([reader.path.parent])
    job = catalogue.job_of(key_of(reader.path))[:_MOST_RANKS]
    found = [failed for entry in job if (failed := _failed(catalogue.open(entry.key), entry)) is not None]
    return sorted(found, key=lambda failed: (failed.ending.last_ns or 0, failed.rank))


def _failed(reader: Reader | None, entry: Entry) -> FailedRank | None:
    if reader is None:
        return None
    with reader:
        at = moment(reader)
        fold, watch = SummaryFold(), EndingFold()
        for event in reader.events(_LAST_EVENTS):
            watch.take(event, *fold.add(event))
        ending = watch.ending(at.state, fold.open_spans(), heartbeat_ns=at.heartbeat_ns, now_ns=at.now_ns)
    if ending.is_good or not ending.is_over:
        return None
    return FailedRank(rank_of(entry.constants), number(entry.constants.get("pid")), entry.path, ending)
