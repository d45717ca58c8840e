"""explain over the ranks of a job: one that looks healthy does not hide another that failed."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.cli import main
from support.fakes.made_rings import MS, START_NS, MadeRing, made_ring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def ranks(tmp_path: Path) -> Iterator[list[MadeRing]]:
    """Four ranks of one job, each some steps on; the last one started last."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                made_ring(tmp_path, pid=100 + rank, rank=rank, world_size=4, started_ns=START_NS + rank * MS)
            )
            for rank in range(4)
        ]


def end(ranks: list[MadeRing], **ends: int) -> None:
    """Let the ranks named die that number of ms after their steps, and all others stop."""
    for rank, ring in enumerate(ranks):
        ring.event("start")
        for _ in range(3):
            ring.run(["step"], 5.0)
        ms = ends.get(f"rank{rank}")
        ring.now_ns += (ms or 50) * MS
        ring.run(["step"], 5.0)
        if ms is None:
            ring.stop()
        else:
            ring.die()


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], int]:
    code = main(["explain", "--json", *arguments])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer, code


def test_without_a_name_it_is_the_rank_that_failed_first_that_is_explained(
    ranks: list[MadeRing], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end(ranks, rank1=20, rank2=10)
    answer, code = explained(capsys, "--dir", str(tmp_path))
    assert (answer["rank"], answer["cause"]["kind"], code) == (2, "killed", 4)
    assert [rank["rank"] for rank in answer["failed_ranks"]] == [2, 1]
    assert main(["explain", "--dir", str(tmp_path)]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("pid 102, rank 2 of 4: ")
    at = lines.index("other ranks of its job")
    assert lines[at + 1].startswith("  rank 1: killed or crashed")
    assert lines[at + 2] == f"    phasescope explain {ranks[1].path}"


@pytest.mark.parametrize(("ends", "rank"), [({"rank1": 20, "rank2": 10}, 2), ({}, 3)])
def test_a_summary_without_a_name_is_of_the_rank_that_explain_speaks_of(
    ranks: list[MadeRing], tmp_path: Path, capsys: pytest.CaptureFixture[str], ends: dict[str, int], rank: int
) -> None:
    end(ranks, **ends)
    answer, _ = explained(capsys, "--dir", str(tmp_path))
    assert main(["summary", "--json", "--dir", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["pid"] == answer["pid"] == 100 + rank
    assert main(["summary", "--json", ranks[0].path]) == 0
    assert json.loads(capsys.readouterr().out)["pid"] == 100


def test_a_rank_that_is_named_is_explained_and_the_failed_one_is_told(
    ranks: list[MadeRing], capsys: pytest.CaptureFixture[str]
) -> None:
    end(ranks, rank2=10)
    answer, code = explained(capsys, ranks[3].path)
    assert (answer["rank"], answer["cause"]["kind"], code) == (3, "none", 0)
    (failed,) = answer["failed_ranks"]
    assert (failed["rank"], failed["pid"], failed["path"], failed["kind"]) == (2, 102, ranks[2].path, "killed")
    main(["explain", ranks[3].path])
    assert "rank 2: killed or crashed" in capsys.readouterr().out


def test_a_job_that_went_well_names_no_other_rank(
    ranks: list[MadeRing], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end(ranks)
    answer, code = explained(capsys, "--dir", str(tmp_path))
    assert (answer["rank"], answer["failed_ranks"], code) == (3, [], 0)


def test_a_dead_session_of_another_program_is_no_rank_of_this_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with made_ring(tmp_path, pid=7, started_ns=START_NS - MS) as other, made_ring(tmp_path) as ring:
        other.run(["step"], 5.0)
        other.die()
        ring.run(["step"], 5.0)
        ring.stop()
        answer, code = explained(capsys, "--dir", str(tmp_path))
    assert (answer["pid"], answer["failed_ranks"], code) == (4242, [], 0)
