"""What live views are made of: one fold for all of them, sessions found and kept up with, and what the docs promise."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

import phasescope
from phasescope import cli
from phasescope.analysis.session_view import SessionView
from phasescope.analysis.summary.summary import summarize
from phasescope.analysis.timeline.timeline import timeline
from phasescope.views.catalogue import Catalogue, key_of
from phasescope.views.job_loader import gather
from phasescope.views.live_session import Followed
from support.events import MIB, MadeSession
from support.fakes.made_rings import GIB, MS, grows, made_ring

needs_files = pytest.mark.skipif(
    not hasattr(os, "getuid"), reason="sessions lie in files only where they can be locked"
)


def training() -> MadeSession:
    session = MadeSession()
    session.event("start")
    epoch = session.enter("epoch")
    for _ in range(20):
        session.run("epoch", "forward", ms=3, change=MIB)
        session.run("epoch", "backward", ms=5, change=-MIB)
        session.sample(inside=epoch)
    session.event("warning", context="full")
    return session


def test_a_view_fed_bit_by_bit_tells_what_one_look_at_all_events_tells() -> None:
    session, view = training(), SessionView()
    for at in range(0, len(session.events), 7):
        view.feed(session.events[at : at + 7])
        view.summary()  # asking in between changes nothing
        view.timeline.bands(view.open_spans())
    assert view.summary() == summarize(session.events)
    assert view.timeline.to_dict(open_spans=view.open_spans()) == timeline(session.events).to_dict()
    assert view.events == len(session.events)


def test_a_view_names_the_innermost_open_phase_of_each_thread_and_keeps_the_last_events() -> None:
    session, view = training(), SessionView()
    loading = session.enter("load")
    session.events[-1]["metadata"]["phase_scope"]["thread_id"] = 2
    view.feed(session.events)
    assert [span.path for span in view.current()] == [("epoch",), loading.path]
    assert view.recent[-1] is session.events[-1]
    assert [mark.event_type for mark in view.marks()] == ["start", "warning"]
    assert view.marks(since_ns=session.now_ns + 1) == []
    assert view.sequence == session.events[-1]["metadata"]["phase_scope"]["sequence"]
    view.feed(session.events * 10)
    assert len(view.recent) == 200


@needs_files
def test_what_was_written_while_it_was_read_in_pieces_comes_before_the_end(rings: Path) -> None:
    with made_ring(rings) as ring:
        followed, steps = Followed(phasescope.attach(ring.path)), 3000
        for _ in range(steps):
            ring.run(["step"], 1)
        while followed.behind:
            followed.poll(budget_s=0)
            if followed.behind:
                ring.run(["step"], 1)  # is in none of the pieces that are left
                steps += 1
        assert followed.summary().rows[0].count == steps
        followed.reader.close()


@needs_files
def test_a_followed_session_takes_in_only_what_is_new_and_ends_behind_its_last_event(rings: Path) -> None:
    with made_ring(rings) as ring:
        followed = Followed(phasescope.attach(ring.path))
        for step in range(3000):
            ring.run(["step"], 1)
            if step == 1000:
                assert followed.poll(budget_s=60) == 2002
        taken = followed.poll(budget_s=0)
        assert (0 < taken < 3998, followed.behind) == (True, True)
        ring.stop()
        told = followed.ending()
        while followed.behind:
            assert told.kind in ("running", "silent")  # the end is not told before what came ahead of it
            told = followed.ending()
        assert told.kind == "finished"
        assert (followed.view.events, followed.missed) == (6001, 0)
        assert followed.summary().rows[0].count == 3000
        followed.close()


@needs_files
def test_only_this_users_own_files_are_found(rings: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    with made_ring(rings) as ring, made_ring(elsewhere) as other:
        (rings / "node-1-1.ring").symlink_to(other.path)
        (rings / "node-2-2.ring").write_bytes(b"no ring")
        open_to_all = tmp_path / "open"
        open_to_all.mkdir(mode=0o755)
        open_to_all.chmod(0o755)
        entries = Catalogue([rings, open_to_all]).entries()
        assert [entry.path for entry in entries] == [ring.path]
        assert Catalogue([rings]).open(key_of(other.path)) is None
        assert cli.main(["report", str(rings / "node-1-1.ring")]) == 1


@needs_files
def test_the_ranks_of_a_job_are_gathered_from_all_directories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directories = [str(tmp_path / host) for host in ("a", "b")]
    for rank, directory in enumerate(directories):
        with made_ring(Path(directory), rank=rank, world_size=3, job_id="j", host=f"h{rank}", pid=rank + 1) as ring:
            ring.allocated += rank * GIB
            for _ in range(30 - 10 * rank):
                ring.run(["step"], 10 + 30 * rank)
            ring.enter(["step"])
            path = ring.path
    job = gather(Catalogue(directories), key_of(path))
    assert job is not None
    assert [(row.rank, row.steps) for row in job.ranks] == [(0, 30), (1, 20)]
    assert (job.fattest, job.behind, job.missing) == (1, 1, (2,))
    assert gather(Catalogue(directories[:1]), key_of(path)) is None
    where = [word for directory in directories for word in ("--dir", directory)]
    assert cli.main(["summary", "2", *where]) == 0
    shown = capsys.readouterr().out
    assert "killed or crashed: process 2 ended without stopping the session" in shown
    for text in (
        "no session of rank 2",
        "rank 1 uses the most: 2.00 GiB",
        "rank 1 ended 10 rounds of step short",
        "step is slowest in rank 1: 40.0 ms, 1.6 × the median",
        "clocks shown as they are",
    ):
        assert text in shown
    assert cli.main(["summary", "2", "--json", *where]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["ending"]["kind"], data["job"]["fattest"]) == ("killed", 1)


@needs_files
def test_the_summary_says_how_it_ended(rings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with made_ring(rings) as ring:
        number = ring.enter(["epoch"])
        ring.now_ns += 5 * MS
        ring.leave(number, ["epoch"], None, 5 * MS, "error")
        extra = {"error_type": "OutOfMemoryError", "out_of_memory": True, "memory": "device", "requested_bytes": GIB}
        ring.event("error", number, None, None, [1, "MainThread"], ["epoch"], extra=extra)
        ring.stop(context="the interpreter exited after OutOfMemoryError")
        assert cli.main(["summary", ring.path]) == 0
    assert "out of memory on cuda:0, in epoch; tried to allocate 1.00 GiB; stopped 2025" in capsys.readouterr().out


@needs_files
def test_the_examples_of_the_docs_run(
    rings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PHASESCOPE_DIR", str(rings))
    text = (Path(cli.__file__).parents[3] / "docs" / "live.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples[0].strip().splitlines()) <= 11
    with made_ring(rings) as ring:
        ring.run(["epoch", "forward"], 10)
        ring.stop()
        names: dict[str, object] = {}
        for example in examples:
            exec(example, names)
        names["reader"].close()  # type: ignore[attr-defined]
    shown = capsys.readouterr().out
    assert "cuda:0 (1073741824, ('epoch', 'forward'))" in shown
    assert "forward" in shown
    assert shown.endswith("finished\n")


@needs_files
def test_the_answer_is_that_of_explain_from_the_pass_that_the_view_makes_anyway(rings: Path) -> None:
    with made_ring(rings) as ring:
        with phasescope.attach(ring.path) as reader, phasescope.attach(ring.path) as other:
            followed = Followed(reader, judged=True)
            assert followed.answer() is None, "nothing is read yet"
            grows(ring, 104)
            followed.catch_up()
            found = followed.answer()
            assert found is not None
            assert found.cause.kind == "growth"
            assert found.to_dict()["growth"] == other.explain().to_dict()["growth"]
            ring.run(["step"], 5)
            followed.poll()
            assert followed.answer() is found, "of one that runs it is made again some seconds later"
            ring.stop()
            followed.poll()
            ended = followed.answer()
            assert ended is not None
            assert str(ended) == str(other.explain()), "how it ended is shown at once"
            assert Followed(other).answer() is None
