"""Which ranks of a session's job ended badly: one rank alone may look healthy, while another was killed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.jobs.grouping import rank_of
from phasescope.cli._session_args import number, opened
from phasescope.readers.diagnosis import ending

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.readers.reader import Reader
    from phasescope.views.catalogue import Entry

_LAST_EVENTS = 4096  # the last of them show the end


class FailedRank(NamedTuple):
    """A rank that did not end well, and where its ring lies."""

    rank: int
    pid: int | None
    path: str
    ending: Ending

    def to_dict(self) -> dict[str, Any]:
        """Return the rank as JSON types."""
        return {
            "rank": self.rank,
            "pid": self.pid,
            "path": self.path,
            "kind": self.ending.kind,
            "text": self.ending.text,
            "last_ns": self.ending.last_ns,
        }


def failed_ranks(reader: Reader) -> list[FailedRank]:
    """Return the failed ranks of this ring's job, its own included, the one that ended first in front.

    They are looked for where the ring lies; a recording, or a session that is not a rank of several, has none.
    """
    from phasescope.views.catalogue import Catalogue, key_of
    from phasescope.views.job_loader import MAX_RANKS

    world_size = number(reader.constants.get("world_size"))
    if reader.path is None or reader.path.suffix != ".ring" or world_size is None or world_size < 2:
        return []
    catalogue = Catalogue([reader.path.parent])
    job = catalogue.job_of(key_of(reader.path))[:MAX_RANKS]
    failures = [failed for entry in job if (failed := _failed(catalogue.open(entry.key), entry)) is not None]
    return sorted(failures, key=lambda failed: (failed.ending.last_ns or 0, failed.rank))


@contextlib.contextmanager
def meant(newest: Reader, failed: Sequence[FailedRank], target: str | None) -> Iterator[Reader]:
    """Open the session that a command without a target means: the rank that failed first, of the newest one's job.

    If a target was named, or no rank failed, it is `newest` itself.
    """
    if target or not failed or failed[0].path == str(newest.path):
        yield newest
        return
    with opened(failed[0].path, None) as reader:
        yield reader


def _failed(reader: Reader | None, entry: Entry) -> FailedRank | None:
    if reader is None:
        return None
    with reader:
        ended = ending(reader, _LAST_EVENTS)
    if ended.is_good or not ended.is_over:
        return None
    return FailedRank(rank_of(entry.constants), number(entry.constants.get("pid")), entry.path, ended)
