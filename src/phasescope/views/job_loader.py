"""All ranks of a job, read from beginning to end, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.jobs.job import Job, Member, job
from phasescope.views.live_session import Followed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.views.catalogue import Catalogue, Entry

_MAX_RANKS = 64


def gather(catalogue: Catalogue, key: str) -> Job | None:
    """The job of this session with the figures of its ranks, the first 64; None where the session is alone."""
    run = catalogue.job_of(key)
    found = members(catalogue, run) if len(run) > 1 else []
    return job(found) if found else None


def members(catalogue: Catalogue, entries: Sequence[Entry]) -> list[Member]:
    """These sessions, read; the first 64, without those that are gone meanwhile."""
    found = []
    for entry in entries[:_MAX_RANKS]:
        reader = catalogue.open(entry.key)
        if reader is not None:
            with reader:
                followed = Followed(reader)
                followed.catch_up()
                found.append(Member(entry.constants, followed.view, followed.summary(), followed.ending()))
    return found
