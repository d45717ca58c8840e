"""The ranks of a job, read for comparing them: how many of them, and which parts of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.jobs.imbalance import ranks
from phasescope.analysis.jobs.job import Job, Member
from phasescope.views.live_session import Followed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.analysis.jobs.imbalance import Ranks
    from phasescope.views.catalogue import Catalogue, Entry

MAX_RANKS = 64
"""The most ranks of one job that are read, the first ones."""


def compare(catalogue: Catalogue, key: str) -> Ranks | None:
    """Return the ranks of this session's job compared, the first 64; None if the session is alone."""
    entries = catalogue.job_of(key)
    ranks_read = members(catalogue, entries) if len(entries) > 1 else []
    return ranks(ranks_read) if ranks_read else None


def gather(catalogue: Catalogue, key: str) -> Job | None:
    """Return the job of this session with the figures of its ranks, the first 64; None if the session is alone."""
    compared = compare(catalogue, key)
    return None if compared is None else compared.job


def members(catalogue: Catalogue, entries: Sequence[Entry]) -> list[Member]:
    """Read these sessions from beginning to end, the first 64, without those that disappear meanwhile."""
    ranks_read = []
    for entry in entries[:MAX_RANKS]:
        reader = catalogue.open(entry.key)
        if reader is not None:
            with reader:
                followed = Followed(reader)
                followed.catch_up()
                ranks_read.append(member(entry, followed))
    return ranks_read


def member(entry: Entry, followed: Followed) -> Member:
    """Return a session as far as it is read."""
    return Member(entry.constants, followed.view, followed.summary(), followed.ending())
