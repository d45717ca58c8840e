"""Ranks of one job: what differs by more than chance, from events, from recordings and from rings."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.analysis.jobs.imbalance import Ranks, ranks
from phasescope.analysis.jobs.job import Member
from phasescope.analysis.session_view import SessionView
from phasescope.analysis.text.job_text import job_report, rank_report
from phasescope.cli import main
from phasescope.views.top import panels
from support.events import MIB, MS, MadeSession
from support.fakes.made_rings import made_ring
from support.recordings import SESSION, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from support.fakes.made_rings import MadeRing

DOCS = Path(__file__).parents[2] / "docs"
SECOND = 1000 * MS
Steps = dict[str, float]


def training(
    rank: int, phases: Steps, *, steps: int = 40, fat: int = 0, extra: Steps | None = None, world: int = 4
) -> MadeSession:
    """Steps of these phases, in ms, with a scatter of 4 %; `fat` bytes are allocated in the first of them."""
    identity: dict[str, Any] = {"rank": rank, "local_rank": rank, "world_size": world, "job_id": "job"}
    session = MadeSession(**identity, session_id=f"s{rank}", pid=100 + rank)
    session.allocated = 100 * MIB
    for step in range(steps):
        outer = session.enter("step")
        for at, (name, ms) in enumerate(phases.items()):
            inner = session.enter("step", name, parent=outer)
            session.allocated += fat if at == 0 else 0
            session.now_ns += round((ms + (extra or {}).get(name, 0)) * MS * (0.98 + 0.01 * ((step * 7 + rank) % 5)))
            inner.exit()
        outer.exit()
        session.allocated -= fat
    return session


def member(rank: int, session: MadeSession, *, state: str = "stopped", missed: int = 0, **more: Any) -> Member:
    view = SessionView()
    view.feed(session.events)
    constants = {"rank": rank, "world_size": 4, "job_id": "job", "host": "a", "pid": 100 + rank, **more}
    return Member({"session_id": f"s{rank}", **constants}, view, view.summary(missed), view.ending(state))


def of(*sessions: MadeSession) -> Ranks:
    told = ranks([member(rank, session) for rank, session in enumerate(sessions)])
    json.dumps(told.to_dict())
    return told


def remarks(told: Ranks) -> list[str]:
    return rank_report(told).remarks


def standing_out(told: Ranks, which: str) -> dict[str, int | None]:
    return {
        "/".join(phase.path): getattr(phase, which).rank for phase in told.phases if getattr(phase, which) is not None
    }


PHASES = {"data": 4.0, "forward": 10.0, "backward": 20.0}


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_ranks_that_are_alike_show_no_imbalance(count: int) -> None:
    told = of(*(training(rank, PHASES) for rank in range(count)))
    assert told.is_balanced
    assert "no imbalance beyond the noise" in remarks(told)


def test_a_straggler_is_named_with_its_phase_and_by_how_much() -> None:
    told = of(*(training(rank, PHASES, extra={"data": 12.0} if rank == 2 else None) for rank in range(4)))
    assert standing_out(told, "slowest") == {"step": 2, "step/data": 2}
    slow = next(phase.slowest for phase in told.phases if phase.path == ("step", "data"))
    assert slow is not None
    assert slow.difference == pytest.approx(12 * MS, rel=0.05)
    assert slow.usual == pytest.approx(4 * MS, rel=0.05)
    assert [line for line in remarks(told) if "slow" in line] == [
        "rank 2 is slow in step/data: 16.0 ms, the others 4.00 ms (noise 200 µs)"
    ]
    assert told.step_ns[2] == pytest.approx(46 * MS, rel=0.05)


def test_where_the_others_wait_for_a_straggler_that_is_said() -> None:
    """The gradients meet in backward: whoever comes early waits there for the slow one."""
    waiting = [training(rank, PHASES, extra={"data": 12.0} if rank == 1 else {"backward": 12.0}) for rank in range(4)]
    told = of(*waiting)
    assert standing_out(told, "slowest") == {"step/data": 1}
    assert standing_out(told, "quickest") == {"step/backward": 1}
    assert any(line.startswith("in step/backward the others wait for rank 1") for line in remarks(told))


def test_of_two_ranks_it_is_left_open_which_one_waits() -> None:
    told = of(training(0, PHASES, extra={"backward": 12.0}), training(1, PHASES, extra={"data": 12.0}))
    assert standing_out(told, "slowest") == {"step/data": 1, "step/backward": 0}
    assert any("may only wait for the other" in line for line in remarks(told))


def test_the_fattest_rank_is_named_with_its_phase_and_by_how_much() -> None:
    told = of(*(training(rank, PHASES, fat=64 * MIB if rank == 3 else 0) for rank in range(4)))
    assert set(standing_out(told, "fattest").values()) == {3}
    assert not standing_out(told, "slowest")
    assert remarks(told) == [
        "rank 3 uses the most in step/data and 2 more phases: 164 MiB, the others 100 MiB (noise 1.00 MiB)"
    ]


def test_less_than_the_noise_of_either_is_no_imbalance() -> None:
    sessions = [training(rank, PHASES, extra={"data": 0.1 * rank}, fat=rank * MIB // 4) for rank in range(4)]
    assert of(*sessions).is_balanced


def test_ranks_that_differ_among_each_other_make_no_one_stand_out() -> None:
    told = of(*(training(rank, {"data": 4.0 + 2 * rank}) for rank in range(4)))
    assert not standing_out(told, "slowest")


def test_a_phase_that_ran_twice_says_nothing_of_time() -> None:
    told = of(*(training(rank, {"load": 5.0 + 50 * rank}, steps=2) for rank in range(2)))
    assert not standing_out(told, "slowest")


def test_the_rank_that_is_behind_is_named_and_where_it_can_not_be_told_that_is_said() -> None:
    told = of(training(0, PHASES), training(1, PHASES, steps=31))
    assert "rank 1 ended 9 rounds of step short" in remarks(told)
    assert "rank 1 ended 9 rounds of step short" in job_report(told.job, None)
    running = ranks([member(rank, training(rank, PHASES, steps=40 - 9 * rank), state="running") for rank in range(2)])
    assert "rank 1 is 9 rounds of step behind" in remarks(running)
    assert "rank 1 is 9 rounds of step behind" in panels.remarks(running.job)
    lost = ranks([member(0, training(0, PHASES)), member(1, training(1, PHASES), missed=7)])
    assert any(line.startswith("which rank is behind is not known") for line in remarks(lost))


# The command, over files


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        exit_code = main(["ranks", *arguments])
        return exit_code, *capsys.readouterr()

    return run


def record(folder: Path, sessions: Sequence[MadeSession], *, ending: str = ".jsonl", host: str = "a") -> None:
    for rank, session in enumerate(sessions):
        about = {**SESSION, "session_id": f"s{rank}", "pid": 100 + rank, "host": host, "rank": rank}
        about.update(
            world_size=len(sessions), local_rank=rank, job_id="job", started_ns=session.events[0]["timestamp_ns"]
        )
        write(folder / f"rank{rank}{ending}", session.events, session=about)


def a_straggler(world: int = 3) -> list[MadeSession]:
    return [training(rank, PHASES, extra={"data": 12.0} if rank == 1 else None, world=world) for rank in range(world)]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_a_folder_of_recordings_is_one_job(
    ending: str, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    record(tmp_path, a_straggler(), ending=ending)
    exit_code, out, err = run(str(tmp_path))
    assert (exit_code, err) == (0, "")
    assert "job job: 3 of 3 ranks on a" in out
    assert re.search(r"^ *1 +a +101 +finished\? .* 40 ", out, re.MULTILINE)
    assert "rank 1 is slow in step/data" in out


def test_parquet_recordings_are_ranks_too(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    pytest.importorskip("pyarrow")
    jsonl = tmp_path / "jsonl"
    jsonl.mkdir()
    record(jsonl, a_straggler())
    folder = tmp_path / "parquet"
    folder.mkdir()
    for path in sorted(jsonl.iterdir()):
        assert main(["convert", str(path), str(folder / f"{path.stem}.parquet")]) == 0
    exit_code, out, _ = run(str(folder))
    assert exit_code == 0
    assert "rank 1 is slow in step/data" in out


def steps_into(ring: MadeRing, count: int, *, data_ms: float = 4.0) -> None:
    ring.event("start")
    for _ in range(count):
        began_ns, step = ring.now_ns, ring.enter(["step"])
        for name, ms in (("data", data_ms), ("forward", 10.0)):
            ring.run(["step", name], ms, step)
        ring.leave(step, ["step"], None, ring.now_ns - began_ns)


@contextlib.contextmanager
def two_machines(folder: Path, *, apart_ns: int) -> Iterator[tuple[Path, Path]]:
    """Rings of one job, a rank a host, in a directory each; the second's clock is ahead."""
    with contextlib.ExitStack() as open_rings:
        for rank, host in enumerate(("node-a", "node-b")):
            about = {"session_id": f"{rank}" * 32, "host": host, "rank": rank, "world_size": 2, "job_id": "far"}
            ring = open_rings.enter_context(made_ring(folder / host, pid=50 + rank, **about))
            ring.now_ns += rank * apart_ns
            ring.allocated += rank * 1024 * MIB
            steps_into(ring, 40)
        yield folder / "node-a", folder / "node-b"


def test_rings_of_two_machines_are_one_job_and_their_clocks_aligned(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    with two_machines(tmp_path, apart_ns=3 * SECOND) as (one, other):
        exit_code, out, _ = run(str(one), "--dir", str(other))
        data = json.loads(run(str(one), str(other), "--json")[1])
    assert exit_code == 0
    assert "job far: 2 of 2 ranks on node-a, node-b" in out
    assert "clocks aligned to node-a by matching phases (node-b: -3.00 s, spread 0 ns)" in out
    assert "rank 1 uses the most in step/" in out
    assert data["clocks"]["shift_ns"] == {"node-a": 0, "node-b": 3 * SECOND}


def test_clocks_that_agree_are_shown_as_they_are(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    with two_machines(tmp_path, apart_ns=0) as (one, other):
        assert "clocks shown as they are" in run(str(one), str(other))[1]


def test_a_session_that_is_there_as_ring_and_recording_counts_once(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with two_machines(tmp_path, apart_ns=0) as (one, other):
        for path in (*one.glob("*.ring"), *other.glob("*.ring")):
            assert main(["convert", str(path), str(one / f"{path.stem}.jsonl")]) == 0
        capsys.readouterr()
        data = json.loads(run(str(one), str(other), "--json")[1])
    assert [row["rank"] for row in data["ranks"]] == [0, 1]
    assert [row["steps"] for row in data["ranks"]] == [40, 40]


def test_what_is_no_job_ends_with_one_line(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    exit_code, out, err = run(str(tmp_path))
    assert (exit_code, out) == (1, "")
    assert "is one of several ranks of a job" in err
    assert "torchrun" in err
    assert run(str(tmp_path / "nowhere"))[0] == 1
    record(tmp_path, a_straggler())
    assert run(str(tmp_path), "--job", "other")[0] == 1
    assert run(str(tmp_path), "--job", "jo")[0] == 0


def test_every_key_of_the_json_is_documented(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    record(tmp_path, a_straggler())
    data = json.loads(run(str(tmp_path), "--json")[1])
    documented = (DOCS / "cli.md").read_text(encoding="utf-8").partition("\n## ranks\n")[2].partition("\n## ")[0]
    outliers = [phase["slowest"] for phase in data["imbalances"] if phase["slowest"] is not None]
    cells = [cell for phase in data["phases"] for cell in phase["cells"]]
    devices = [device for rank in data["ranks"] for device in rank["devices"]]
    objects = [data, *data["ranks"], *devices, *data["phases"], *cells, *data["imbalances"], *outliers, data["clocks"]]
    assert outliers
    assert not {key for found in objects for key in found if f"`{key}`" not in documented}


def test_an_older_job_of_the_same_id_is_chosen_by_a_pid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.ExitStack() as stack:
        for run, start_ns in enumerate((10**18, 10**18 + 10**12)):
            for rank in range(2):
                of_rank = {"rank": rank, "world_size": 2, "pid": 100 * run + rank + 1, "job_id": "again"}
                ring = stack.enter_context(
                    made_ring(tmp_path, session_id=f"{run}{rank}", started_ns=start_ns, **of_rank)
                )
                ring.run(["step"], 10)
    assert main(["ranks", "--dir", str(tmp_path)]) == 0
    assert "1 older job here as well; --job PID of one of its ranks: 1\n" in capsys.readouterr().out
    assert main(["ranks", "--dir", str(tmp_path), "--job", "1", "--json"]) == 0
    assert [row["session_id"] for row in json.loads(capsys.readouterr().out)["ranks"]] == ["00", "01"]
