"""The ranks of a job, read for comparing them."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import pytest

from phasescope.views.catalogue import Catalogue, key_of
from phasescope.views.job_loader import gather
from support.fakes.made_rings import made_ring

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="rings are read here while they are written")


def test_at_most_64_ranks_are_read(tmp_path: Path) -> None:
    with contextlib.ExitStack() as rings:
        for rank in range(66):
            constants = {"rank": rank, "world_size": 66, "job_id": "j", "pid": 100 + rank, "session_id": f"s{rank:031}"}
            ring = rings.enter_context(made_ring(tmp_path, capacity_bytes=1 << 16, **constants))
            ring.run(["step"], 10)
        job = gather(Catalogue([tmp_path]), key_of(ring.path))
        assert job is not None
        assert [row.rank for row in job.ranks] == list(range(64))
        assert job.missing == (64, 65)


def test_a_session_alone_is_no_job(tmp_path: Path) -> None:
    with made_ring(tmp_path) as ring:
        assert gather(Catalogue([tmp_path]), key_of(ring.path)) is None
        assert gather(Catalogue([tmp_path]), "gone") is None
