"""The report: one file that opens offline, of bounded size, that shows what it is given and obeys none of it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import stat
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import cli
from phasescope.views.live_session import Followed
from phasescope.views.page.html_page import embedded_json
from phasescope.views.page.page_data import MAX_BANDS, snapshot
from support.browser import Watched, needs_browser, running_browser
from support.fakes.made_rings import GIB, MS, MadeRing, an_hour, made_ring
from support.hostile_markup import HOSTILE, assert_harmless, hostile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

browser = pytest.fixture(scope="module")(running_browser)


def report(target: str, output: Path, *more: str) -> str:
    assert cli.main(["report", target, "-o", str(output), *more]) == 0
    return output.read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert match is not None
    data: dict[str, Any] = json.loads(match[1])
    return data


def own_size(page: str) -> int:
    """Without the plot script."""
    plotly = max(re.findall(r"<script>(.*?)</script>", page, re.DOTALL), key=len)
    assert len(plotly) > 2_000_000
    return len(page.encode()) - len(plotly.encode())


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeRing]:
    with made_ring(tmp_path_factory.mktemp("hour") / "rings", capacity_bytes=64 * 2**20) as ring:
        an_hour(ring)
        ring.stop()
        yield ring


@pytest.fixture(scope="module")
def hour_page(hour: MadeRing, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("page") / "run.html"
    report(hour.path, output)
    return output


def test_what_is_embedded_can_not_leave_its_place() -> None:
    text = embedded_json({"a": HOSTILE, "\u2029": [float("nan"), float("inf"), 1.5, None, "\ud800"]})
    assert not set(text) & set("<>&\u2028\u2029")
    assert text.isascii()
    assert json.loads(text) == {"a": HOSTILE, "\u2029": [None, None, 1.5, None, "\ud800"]}


def test_an_hour_is_a_few_hundred_kilobytes_and_keeps_its_spike(hour_page: Path) -> None:
    page = hour_page.read_text(encoding="utf-8")
    print(f"an hour: {own_size(page) / 1024:.0f} KiB beside the plot script")
    assert own_size(page) < 500 * 1024
    data = data_of(page)["snapshot"]
    assert max(data["series"]["cuda:0"]["allocated"]) == 61 * GIB
    assert data["devices"][0]["peak"]["allocated_bytes"] == 61 * GIB
    assert data["series"]["cuda:0"]["t"][-1] - data["series"]["cuda:0"]["t"][0] > 3_590_000
    assert len(data["bands"]) <= MAX_BANDS
    assert sum(band[2] == ["epoch"] for band in data["bands"]) == 12
    assert {strip[2][-1] for strip in data["strips"]} >= {"epoch", "step", "backward"}
    assert data["counts"]["missed"] == 0


def test_many_devices_and_names_stay_bounded(rings: Path, tmp_path: Path) -> None:
    with made_ring(rings, capacity_bytes=32 * 2**20) as ring:
        for name in range(3000):
            ring.run([f"{'phase ' * 60}{name}", f"{'x' * 500}"], 1)
            ring.event("warning", context="y" * 5000)
        ring.stop()
        page = report(ring.path, tmp_path / "run.html")
    assert own_size(page) < 1_500 * 1024


def test_the_end_is_told(rings: Path, tmp_path: Path) -> None:
    with made_ring(rings) as ring:
        ring.enter(["epoch"])
        ring.now_ns += 2000 * MS
        ring.event("sample")
        ring.die()
        told = data_of(report(ring.path, tmp_path / "run.html"))["snapshot"]["ending"]
    assert (told["kind"], told["certain"]) == ("killed", True)
    assert told["open_phases"] == [{"path": ["epoch"], "open_ns": 2000 * MS}]


def test_ranks_of_several_directories_are_one_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rank, host in enumerate(("a", "b")):
        place = tmp_path / host
        with made_ring(place, rank=rank, world_size=2, job_id="j", host=host, pid=rank + 1, session_id=host) as ring:
            ring.now_ns += rank * 7_000 * MS
            for _ in range(30):
                ring.run(["step"], 10 + 10 * rank)
            ring.stop()
    page = report("1", tmp_path / "run.html", "--dir", str(tmp_path / "a"), "--dir", str(tmp_path / "b"))
    job = data_of(page)["job"]
    assert [row["host"] for row in job["ranks"]] == ["a", "b"]
    assert [row["steps"] for row in job["ranks"]] == [30, 30]
    assert job["clocks"]["aligned"]
    assert job["phases"][0]["slowest"] == 1
    assert cli.main(["ranks", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert job["remarks"] == said[-len(job["remarks"]) :], "in the same words"
    assert any("rank 1 is slow in step" in remark for remark in job["remarks"])


def test_a_recording_makes_the_same_page_as_its_ring(rings: Path, tmp_path: Path) -> None:
    with made_ring(rings) as ring:
        ring.run(["step"], 10)
        ring.stop()
        lines = [json.dumps(event) for event in phasescope.attach(ring.path).events()]
        recording = tmp_path / "run.jsonl"
        recording.write_text("\n".join(lines) + "\n")
        pages = [data_of(report(target, tmp_path / "run.html"))["snapshot"] for target in (ring.path, str(recording))]
    for key in ("series", "bands", "marks", "phases", "devices"):
        assert pages[0][key] == pages[1][key]


def test_without_plotly_the_answer_is_the_pip_line(
    rings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "plotly" else found(name, *more)
    )
    with made_ring(rings) as ring:
        assert cli.main(["report", ring.path]) == 3
    assert 'pip install "phasescope[web]"' in capsys.readouterr().err


def test_a_page_that_can_not_be_written_is_one_line(rings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with made_ring(rings) as ring:
        assert cli.main(["report", ring.path, "-o", str(rings / "no" / "where.html")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_a_page_is_for_its_user_alone_and_written_over_another_file_only_where_that_is_named(
    rings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with made_ring(rings) as ring:
        assert cli.main(["report", ring.path]) == 0
        (page,) = tmp_path.glob("phasescope-*.html")
        assert os.name == "nt" or stat.S_IMODE(page.stat().st_mode) == 0o600
        page.write_text("mine")
        assert cli.main(["report", ring.path]) == 2
        assert f"{page.name} exists; -o {page.name} writes over it" in capsys.readouterr().err
        assert page.read_text() == "mine"
        assert cli.main(["report", ring.path, "-o", page.name]) == 0
        assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


@needs_browser
def test_it_opens_offline_and_shows_the_hour(hour_page: Path, browser: Any) -> None:
    watched = Watched(browser, offline=True)
    try:
        watched.page.goto(hour_page.as_uri())
        watched.until("document.querySelector('#timeline .main-svg') !== null")
        assert "finished" in watched.text("#state")
        assert "61.0 GiB" in watched.text("#tiles")
        assert "optimizer" in watched.text("#phases")
        assert watched.page.evaluate("document.getElementById('timeline').data.length") > 4
        assert watched.wrong == []
        assert watched.requested == [hour_page.as_uri()]
    finally:
        watched.close()


@needs_browser
def test_hostile_names_are_shown_and_do_nothing(rings: Path, tmp_path: Path, browser: Any) -> None:
    with made_ring(rings, command=["python", HOSTILE], host=HOSTILE, job_id=HOSTILE) as ring:
        hostile(ring)
        output = tmp_path / "run.html"
        report(ring.path, output)
    watched = Watched(browser, offline=True)
    try:
        watched.page.goto(output.as_uri())
        watched.until("document.querySelector('#timeline .main-svg') !== null")
        assert_harmless(watched)
        assert "<img src=x onerror=alert(2)>" in watched.text("#phases")
    finally:
        watched.close()


def test_a_followed_session_that_grows_tells_what_is_new(rings: Path) -> None:
    from phasescope.views.page.page_data import delta

    with made_ring(rings) as ring:
        ring.run(["step"], 10)
        followed = Followed(phasescope.attach(ring.path))
        followed.catch_up()
        first = snapshot(followed)
        last_ns, marked = followed.view.timeline.last_ns or 0, followed.view.timeline.marked
        ring.now_ns += 500 * MS
        ring.allocated += GIB
        ring.run(["other"], 10)
        ring.event("warning", context="full")
        followed.poll()
        told = delta(followed, last_ns, marked, with_phases=True)
        followed.close()
    assert [band[2] for band in first["bands"]] == [["step"]]
    assert [band[2] for band in told["bands"]] == [["other"]]
    assert [mark["context"] for mark in told["marks"]] == ["full"]
    assert max(told["series"]["cuda:0"]["allocated"]) == 2 * GIB
    assert [row["path"] for row in told["phases"]["rows"]] == [["step"], ["other"]]
