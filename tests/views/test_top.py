"""`phasescope top` over real rings, driven by textual's pilot; the real terminal is in test_top_terminal.py."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("textual")

from phasescope import attach, cli
from phasescope.analysis.diagnosis.verdict import verdict
from phasescope.views.catalogue import Entry
from phasescope.views.top import app, header, palette
from phasescope.views.top.frame import View, frame_of, points_of
from phasescope.views.top.shown_session import Watched
from phasescope.views.top.widget import Drawing
from support.fakes.made_rings import GIB, MIB, MS, START_NS, MadeRing, an_hour, grows, made_ring
from support.fakes.processes import in_new_python
from support.fakes.trainings import training
from support.top_pilot import Driven, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="sessions lie in files only where they can be locked")

HOSTILE = "[bold red]x[/] \x1b[31m\x1b]0;owned\x07\u202egnp\u2028\n[@click=app.quit]y"
ESCAPES = "".join(map(chr, [*range(32), 127, *range(128, 160), 0x202E, 0x2028]))


@pytest.fixture(autouse=True)
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def running(rings: Path) -> Iterator[MadeRing]:
    """A session that runs, now."""
    with made_ring(rings, started_ns=time.time_ns(), pid=os.getpid()) as ring:
        ring.now_ns = time.time_ns() - 5000 * MS
        ring.event("start")
        for _ in range(20):
            ring.run(["forward"], 30)
            ring.run(["backward"], 70)
        yield ring


# A real training in another process.


def test_it_shows_a_trainings_phase_memory_and_end(rings: Path) -> None:
    took: dict[str, float] = {}

    async def look(top: Driven) -> None:
        with training(rings) as running:
            took["session"] = await top.shows(f"pid {running.process.pid}", "● epoch")
            running.enter("forward", 41 * GIB)
            took["phase"] = await top.shows("● epoch/forward")
            took["memory"] = await top.shows("allocated 41.0 GiB")
            assert "cuda:0" in top.part("bars")
            assert "3.00 GiB of 80.0 GiB" in top.part("bars"), "what the device itself says"
            assert re.search(r"^●   forward +0 ", top.part("panel"), re.MULTILINE)
            running.leave()
            await top.until(lambda: re.search(r"^    forward +1 ", top.part("panel"), re.MULTILINE))
            running.end()
            took["end"] = await top.shows("○ finished")

    watching(rings, look)
    print({what: f"{seconds:.2f} s" for what, seconds in took.items()})


def test_it_says_that_a_training_was_killed_and_in_which_phase(rings: Path) -> None:
    async def look(top: Driven) -> None:
        with training(rings) as running:
            running.enter("backward")
            await top.shows("● epoch/backward")
            running.end("kill")
            await top.shows("✗ killed or crashed", "open: epoch/backward", "✗ killed after")

    watching(rings, look, size=(120, 24))


def test_it_says_which_exception_ended_a_training(rings: Path) -> None:
    async def look(top: Driven) -> None:
        with training(rings) as running:
            await top.shows("● epoch")
            running.end("raise")
            await top.shows("ended by an exception: ValueError", "failed after")

    watching(rings, look)


def test_all_ranks_of_a_job_are_one_line_and_can_be_compared(rings: Path) -> None:
    async def look(top: Driven) -> None:
        with training(rings, 0, 2) as first, training(rings, 1, 2) as second:
            await top.until(lambda: len(top.app.watching.job) == 2)
            first.enter("forward", 2 * GIB)
            second.enter("forward", 5 * GIB)
            await top.shows("rank 0 of 2")
            await top.press("r")
            await top.shows("rank 1 of 2", "allocated 5.00 GiB")
            await top.press("tab")
            await top.shows("rank 1 uses the most: 5.00 GiB")
            rows = [line for line in top.part("panel").splitlines() if line.startswith("●")]
            assert [line.split()[1] for line in rows] == ["0", "1"]
            await top.press("R")
            await top.shows("rank 0 of 2", "allocated 2.00 GiB")

    watching(rings, look)


# The verdict.


def explained(path: str) -> str:
    with attach(path) as reader:
        return verdict(reader.explain()).text


def test_it_says_first_what_the_other_commands_say_first(rings: Path) -> None:
    with made_ring(rings) as ring:
        grows(ring, 104)
        text = explained(ring.path)
        assert text.startswith("memory on cuda:0 grows: 1.00 MiB a step")

        async def look(top: Driven) -> None:
            await top.shows(text)
            assert top.screen.splitlines()[1].startswith(f" {text}; full in "), "it comes first"
            ring.stop()
            await top.shows(explained(ring.path))
            assert "full in" not in top.screen, "it is over"

        watching(rings, look, size=(120, 24))


def test_of_a_training_that_has_just_begun_the_verdict_alarms_nobody(rings: Path, running: MadeRing) -> None:
    async def look(top: Driven) -> None:
        await top.shows("nothing went wrong; whether memory grows is not known")
        (line,) = top.app.query_one("#verdict", Drawing).lines
        assert {role for _, role in line.parts} <= {"text", "dim"}

    watching(rings, look, size=(120, 24))


# While it catches up.


@pytest.fixture
def reads_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading turn of 256 events, and none between two pictures."""
    monkeypatch.setattr(app, "_POLL_S", 0.0)
    monkeypatch.setattr(app, "_CATCH_UP_S", 1000.0)


@pytest.mark.usefixtures("reads_slowly")
@pytest.mark.parametrize("dies", [False, True])
def test_while_it_catches_up_it_says_what_its_newest_end_says_and_nothing_old(rings: Path, dies: bool) -> None:
    began_ns = time.time_ns() - 3600 * 1000 * MS
    with made_ring(rings, capacity_bytes=16 * MIB, started_ns=began_ns, pid=os.getpid()) as ring:
        ring.now_ns = began_ns
        for _ in range(3000):
            ring.run(["warmup"], 500)
        ring.allocated = 41 * GIB
        ring.now_ns = time.time_ns()
        ring.enter(["train"])
        if dies:
            ring.die()

        async def look(top: Driven) -> None:
            await top.shows("reading, ")
            assert top.part("verdict") == " –"
            assert ("✗ killed after 1.00 h" if dies else "● running 1.00 h") in top.part("head")
            assert ("open: train" if dies else "● train") in top.part("status")
            assert "42.0 GiB of 80.0 GiB" in top.part("bars")
            assert top.part("panel").splitlines()[0] == " –  the phases are known when all events are read"
            assert "warmup" not in top.screen
            assert not set(top.part("chart")) & set("▁▂▃▄▅▆▇█")
            watched = top.app.watching.chosen
            assert watched is not None
            watched.followed.catch_up()
            await top.until(lambda: re.search(r"warmup +3,000 ", top.part("panel")))
            assert "reading" not in top.screen
            assert "allocated 41.0 GiB" in top.part("title")

        watching(rings, look, size=(160, 30))  # room for the number of events read so far


def test_a_picture_that_lags_is_not_called_now(rings: Path, running: MadeRing) -> None:
    with attach(running.path) as reader:
        watched = Watched(Entry("key", running.path, "running", reader.constants), reader, full=True)
        watched.poll(1.0)
        assert not frame_of(watched).is_late
        watched.followed.pieces.behind = True
        later_ns = time.time_ns() + 3000 * MS
        frame = frame_of(watched, later_ns)
        assert frame.is_late
        assert frame.now_ns < later_ns - 2000 * MS, "its time is that of what is shown"
        assert header.losses(frame).text.startswith("behind: this is how it was at ")


def test_of_a_session_silent_for_days_the_last_that_was_heard_of_it_is_shown(rings: Path) -> None:
    days_ago_ns = time.time_ns() - 3 * 24 * 3600 * 1000 * MS
    with made_ring(rings, started_ns=days_ago_ns, pid=os.getpid()) as ring:
        ring.now_ns = days_ago_ns
        ring.event("start")
        for _ in range(20):
            ring.run(["forward"], 30)
        with attach(ring.path) as reader:
            watched = Watched(Entry("key", ring.path, "running", reader.constants), reader, full=True)
            watched.poll(1.0)
            frame = frame_of(watched)
        assert frame.ending.text == "running, but silent for 3.00 d"
        window = View().window(frame)
        assert window.end_ns == ring.now_ns
        assert len(points_of(frame.lines[0], window)) > 20
        assert frame.now_ns > window.end_ns + 10**9, "how long it has been silent is counted to now"


@pytest.mark.parametrize("width", [80, 120, 200])
def test_columns_keep_two_spaces_and_hidden_rows_are_told(rings: Path, width: int) -> None:
    with made_ring(rings, capacity_bytes=16 * MIB) as ring:
        ring.allocated = 1023 * MIB
        for _ in range(2):
            for number in range(40):
                ring.run([f"phase{number}"], 123_456)

        async def look(top: Driven) -> None:
            await top.shows("phase0")
            titles, *rows = top.part("panel").splitlines()
            assert titles.startswith(f"phase 1–{len(rows)} of 40  ")
            assert re.fullmatch(r"phase \S+ of 40( {2,}\S+)* {2,}of step", titles), titles
            assert len(titles) <= 160, "the figures stand beside the names, however wide the terminal is"
            for row in rows:
                assert len(re.split(r" {2,}", row.strip())) == len(re.split(r" {2,}", titles)) - row.endswith("-"), row
            await top.press("pagedown")
            await top.until(lambda: not top.part("panel").startswith("phase 1–"))
            await top.press("s")
            await top.until(lambda: "▾" in top.part("panel"))

        watching(rings, look, size=(width, 24))


# Which session.


def test_without_a_session_it_waits_and_says_how_to_start_one(rings: Path) -> None:
    async def look(top: Driven) -> None:
        await top.shows("waiting for a session", "phasescope.start()", "phasescope demo", str(rings))
        with made_ring(rings, started_ns=time.time_ns(), pid=11) as ring:
            ring.now_ns = time.time_ns()
            ring.run(["forward"], 5)
            await top.shows("pid 11", "forward")

    watching(rings, look, size=(120, 30))


def test_sessions_are_chosen_with_the_arrow_keys(rings: Path) -> None:
    async def look(top: Driven) -> None:
        await top.shows("pid 13")
        assert [line.split()[-6:][0] for line in top.part("sessions").splitlines()]
        await top.press("down")
        await top.shows("pid 12")
        await top.press("down", "down", "down")
        await top.shows("pid 11")
        assert "▸" in top.part("sessions")
        await top.press("up", "up", "up")
        await top.shows("pid 13")

    with made_ring(rings, pid=11) as first, made_ring(rings, pid=12, started_ns=START_NS + MS) as second:
        with made_ring(rings, pid=13, started_ns=START_NS + 2 * MS) as third:
            for ring in (first, second, third):
                ring.run(["forward"], 5)
            watching(rings, look)


def test_a_session_over_already_gives_way_to_one_that_starts(rings: Path) -> None:
    with made_ring(rings, pid=11) as over:
        over.run(["forward"], 5)
        over.stop()

    async def look(top: Driven) -> None:
        await top.shows("pid 11", "○ finished")
        with made_ring(rings, pid=12, started_ns=time.time_ns()) as ring:
            ring.now_ns = time.time_ns()
            ring.run(["forward"], 5)
            await top.shows("pid 12", "● running")
            ring.die()
            await top.shows("killed")
            with made_ring(rings, pid=13, started_ns=time.time_ns()):
                await top.shows("a new session has begun: pid 13")
                assert "pid 12" in top.part("head"), "why it died is what one wants to read now"

    watching(rings, look)


def test_the_next_session_of_the_process_that_was_named_is_followed(rings: Path) -> None:
    async def look(top: Driven) -> None:
        await top.shows("● first")
        old.die()
        await top.shows("killed")
        with made_ring(rings, pid=4242, started_ns=START_NS + 5 * MS) as new:
            new.enter(["second"])
            await top.shows("● second", "pid 4242 has begun a new session")

    with made_ring(rings) as old:
        old.enter(["first"])
        watching(rings, look, path=old.path, pid=4242)


def test_a_recording_is_shown_like_a_session(rings: Path, tmp_path: Path) -> None:
    with made_ring(rings) as ring:
        ring.run(["forward"], 5)
        recorded = tmp_path / "run.jsonl"
        assert cli.main(["record", ring.path, "-o", str(recorded), "--seconds", "0.2"]) == 0

    async def look(top: Driven) -> None:
        await top.shows("forward", "pid 4242")

    watching(rings, look, named=(str(recorded),), path=str(recorded))


# What can go wrong.


def test_a_ring_that_wraps_faster_than_it_is_read_says_what_was_lost(rings: Path) -> None:
    async def look(top: Driven) -> None:
        await top.shows("● forward")
        while "lost" not in top.part("status"):
            for _ in range(4000):
                ring.now_ns += 1000
                ring.event("sample")
            await top.pilot.pause(0.01)
        number = ring.enter(["after"])
        await top.shows("● after")
        ring.leave(number, ["after"], None, 5)

    with made_ring(rings, capacity_bytes=64 * 1024) as ring:
        ring.enter(["forward"])
        watching(rings, look, size=(140, 24))


def test_what_was_overwritten_before_is_not_called_lost(rings: Path) -> None:
    async def look(top: Driven) -> None:
        await top.shows("older events overwritten")
        assert "lost" not in top.part("status")

    with made_ring(rings, capacity_bytes=64 * 1024) as ring:
        for _ in range(2000):
            ring.run(["forward"], 1)
        watching(rings, look, size=(120, 24))


def test_a_ring_that_vanishes_leaves_what_was_read(rings: Path, running: MadeRing) -> None:
    async def look(top: Driven) -> None:
        await top.shows("forward", "pid")
        Path(running.path).unlink()
        await top.shows("its file is gone; this is all that was read")
        assert "backward" in top.part("panel")

    watching(rings, look, size=(120, 24))


def test_a_ring_that_is_cut_short_leaves_what_was_read(rings: Path, running: MadeRing) -> None:
    async def look(top: Driven) -> None:
        await top.shows("forward", "pid")
        running.die()
        os.truncate(running.path, 100)
        for _ in range(10):
            await top.pilot.pause(0.2)
        assert "backward" in top.part("panel")

    watching(rings, look)


@pytest.mark.parametrize("size", [(1, 1), (20, 5), (40, 10), (80, 24), (200, 60)])
def test_every_size_of_the_screen_is_filled_and_never_passed(
    rings: Path, running: MadeRing, size: tuple[int, int]
) -> None:
    running.event("warning", context="device memory is above 90 %")

    async def look(top: Driven) -> None:
        await top.until(lambda: top.app.picture.frame is not None and not top.app.picture.frame.reading)
        await top.press("tab", "tab", "tab")
        parts = [part for part in top.app.query(Drawing) if part.display]
        assert sum(part.size.height for part in parts) <= size[1]
        for part in parts:
            assert all(strip.cell_length == size[0] for strip in map(part.render_line, range(part.size.height)))
        await top.pilot.resize_terminal(100, 30)
        await top.shows("forward", "▲", "quit")

    watching(rings, look, size=size)


def test_names_of_a_ring_are_neither_markup_nor_commands_to_the_terminal(rings: Path) -> None:
    async def look(top: Driven) -> None:
        await top.shows("[bold red]x")
        for panel in ("phases", "ranks", "events"):
            assert top.app.picture.panel_name == panel
            assert not set(top.screen) & (set(ESCAPES) - {"\n"}), repr(top.screen)
            await top.press("tab")
        written = top.app.export_screenshot()
        assert "@click" in written, "it is text"
        assert "\x1b" not in written

    constants: dict[str, Any] = {"host": HOSTILE, "command": [HOSTILE, "\x1b[2J"], "job_id": HOSTILE, "world_size": 2}
    with made_ring(rings, **constants) as ring:
        number = ring.enter([HOSTILE], None, {HOSTILE: HOSTILE})
        ring.run([HOSTILE, HOSTILE], 30, number)
        for event_type in ("error", "warning", "critical", HOSTILE):
            ring.event(event_type, context=HOSTILE, extra={"error_type": HOSTILE})
        watching(rings, look, size=(160, 40))


# The keys.


def test_a_held_picture_does_not_move_until_it_goes_on(rings: Path, running: MadeRing) -> None:
    async def look(top: Driven) -> None:
        await top.until(lambda: re.search(r"forward +20 ", top.part("panel")))
        await top.press("p")
        before = top.screen
        assert "held" in top.part("keys")
        running.run(["forward"], 30)
        await top.pilot.pause(0.8)
        assert top.screen == before
        await top.press("p")
        await top.until(lambda: re.search(r"forward +21 ", top.part("panel")))

    watching(rings, look)


def test_one_can_look_back_in_time_at_what_was_then(rings: Path) -> None:
    with made_ring(rings, capacity_bytes=16 * MIB) as ring:
        ring.event("start")
        ring.run(["warmup"], 60_000)
        ring.allocated = 50 * GIB
        ring.run(["train"], 600_000)
        ring.stop()

    async def look(top: Driven) -> None:
        await top.shows("finished")
        assert "allocated 50.0 GiB" in top.part("title")
        await top.press("-", "-", "+", "+", "+", "+", "+", "+", "home")
        await top.shows("allocated 1.00 GiB", "◂ at", "warmup")
        await top.press("end")
        await top.shows("allocated 50.0 GiB", "○ finished")
        await top.press("left")
        assert "◂ at" in top.part("status")
        await top.press("right", "right")
        assert "◂ at" not in top.part("status")

    watching(rings, look)


def test_phases_are_sorted_by_what_one_likes(rings: Path, running: MadeRing) -> None:
    def names(top: Driven) -> list[str]:
        return [line.split()[0] for line in top.part("panel").splitlines()[1:] if line.strip()]

    async def look(top: Driven) -> None:
        await top.until(lambda: names(top) == ["forward", "backward"])
        await top.press("s")
        assert "▾mean" in top.part("panel")
        assert names(top) == ["backward", "forward"]
        await top.press("S")
        assert names(top) == ["forward", "backward"]

    watching(rings, look)


def test_a_long_table_is_scrolled_and_never_past_its_end(rings: Path) -> None:
    async def look(top: Driven) -> None:
        await top.shows("phase000")
        await top.press("pagedown")
        await top.until(lambda: "phase000" not in top.part("panel"))
        await top.press(*["pagedown"] * 12)
        await top.shows("phase099")
        await top.press(*["pageup"] * 14)
        await top.shows("phase000")

    with made_ring(rings) as ring:
        for number in range(100):
            ring.run([f"phase{number:03}"], 1)
        watching(rings, look)


def test_the_help_tells_the_keys_and_goes_away(rings: Path, running: MadeRing) -> None:
    async def look(top: Driven) -> None:
        await top.press("question_mark")
        await top.shows("back and forward in time", "export the session")
        await top.press("h")
        await top.shows("backward")

    watching(rings, look)


def test_devices_are_chosen_and_each_has_its_bar(rings: Path) -> None:
    async def look(top: Driven) -> None:
        with training(rings) as running:
            running.enter("forward")
            await top.until(lambda: len(top.part("bars").splitlines()) == 2)
            assert "cuda:0" in top.part("title")
            await top.press("d")
            assert "host" in top.part("title")
            await top.press("z", "z", "z", "D")
            assert "cuda:0" in top.part("title")
            assert "1 of 2" not in top.screen
            await top.pilot.resize_terminal(80, 18)
            await top.shows("cuda:0  1 of 2")
            await top.until(lambda: len(top.part("bars").splitlines()) == 1)

    watching(rings, look)


def test_an_export_is_json_for_this_user_alone_and_it_is_said_where(
    rings: Path, running: MadeRing, tmp_path: Path
) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()

    async def look(top: Driven) -> None:
        await top.until(lambda: re.search(r"forward +20 ", top.part("panel")))
        await top.press("e", "e")
        await top.shows("written to")
        found = sorted(folder.iterdir())
        assert len(found) == 2, "none is written over"
        assert stat.S_IMODE(found[0].stat().st_mode) == 0o600
        told = json.loads(found[0].read_text())
        assert {phase["path"][0]: phase["count"] for phase in told["summary"]["phases"]} == {
            "forward": 20,
            "backward": 20,
        }
        assert told["ending"]["kind"] == "running"
        assert told["timeline"]["devices"][0]["label"] == "cuda:0"
        folder.rename(tmp_path / "moved")
        await top.press("e")
        await top.shows("could not be written: No such file or directory")

    watching(rings, look, size=(160, 24), export_to=folder)


def test_a_name_from_a_ring_does_not_choose_where_an_export_goes(rings: Path, tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    from phasescope._attach import attach
    from phasescope.views.catalogue import Entry
    from phasescope.views.top.export import export
    from phasescope.views.top.shown_session import Watched

    with made_ring(rings) as ring, attach(ring.path) as reader:
        constants = {**reader.constants, "pid": "../../elsewhere"}
        written = export(Watched(Entry("key", ring.path, "running", constants), reader, full=True), None, folder)
    assert written.parent == folder


# Without colours.


def test_without_colours_the_parts_differ_by_their_signs(
    rings: Path, running: MadeRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def look(top: Driven) -> None:
        await top.shows("forward")
        assert top.app.palette is palette.PLAIN
        bar = top.part("bars")
        assert {"█", "▒", "·"} <= set(bar)
        styles = [
            segment.style
            for part in top.app.query(Drawing)
            for number in range(part.size.height)
            for segment in part.render_line(number)
        ]
        assert all(style is None or (style.color is None and style.bgcolor is None) for style in styles)

    watching(rings, look)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_are_not_shown_to_who_does_not_want_them(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert palette.wanted() is palette.DARK
    monkeypatch.setenv(name, value)
    assert palette.wanted() is palette.PLAIN


# Much of it.

LOOK_AT_64 = r"""
import re, statistics, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.top_pilot import watching

def cost_ms(function):
    times = []
    for _ in range(9):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)

async def look(top):
    app = top.app
    await top.until(lambda: len(app.watching.job) == 64)
    await top.until(lambda: not app.watching.poll(0.05))
    await top.press("tab")
    await top.shows("rank 0 of 64", "steps")
    await top.press(*["r"] * 12)
    await top.shows("rank 12 of 64")
    look_ms, frame_ms = cost_ms(app.look), cost_ms(lambda: (app.tick(), top.screen))
    most_kib = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]
    print(int(most_kib) / 1024, look_ms, frame_ms)

watching(Path({rings!r}), look)
"""


def test_an_hour_is_shown_with_its_spike_and_a_frame_costs_little(tmp_path: Path) -> None:
    rings = tmp_path / "rings"
    with made_ring(rings, capacity_bytes=32 * MIB) as ring:
        an_hour(ring, step_ms=2000)
        ring.stop()
    costs: list[float] = []

    async def look(top: Driven) -> None:
        app = top.app
        await top.until(lambda: app.picture.frame is not None and not app.picture.frame.reading)
        await top.press(*["minus"] * 12)
        await top.shows("1.00 h", "peak 61.0 GiB")
        for _ in range(20):
            began = time.perf_counter()
            app.tick()
            top.screen  # noqa: B018 - all of it is drawn
            costs.append(time.perf_counter() - began)
        rows = [line for line in top.part("chart").splitlines() if set(line) & set("▁▂▃▄▅▆▇█")]
        assert len(rows) > 0.7 * app.query_one("#chart").size.height, "one sample of 61 GiB of 80 among some of 1 to 5"

    watching(rings, look, size=(140, 50))
    costs.sort()
    print(f"a frame: median {costs[10] * 1e3:.1f} ms, worst {costs[-1] * 1e3:.1f} ms")
    assert costs[10] < 0.15, "50 ms are meant; the machine is shared"


def test_64_sessions_and_a_long_one_fit_into_200_mb(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("what a process takes is asked of Linux")
    rings = tmp_path / "rings"
    with ExitStack() as stack:
        for rank in range(64):
            constants = {"pid": 1000 + rank, "session_id": f"{rank:032x}", "started_ns": START_NS + rank * MS}
            job = {"rank": rank, "local_rank": rank, "world_size": 64, "job_id": "job"}
            ring = stack.enter_context(made_ring(rings, capacity_bytes=MIB, **constants, **job))
            if rank:
                for _ in range(100):
                    ring.run(["epoch", "step"], 30)
            else:
                an_hour(ring, step_ms=6000)
        told = in_new_python(LOOK_AT_64.format(tests=str(Path(__file__).parents[1]), rings=str(rings)))
    took_mib, look_ms, frame_ms = map(float, told.split())
    print(f"64 ranks: {took_mib:.0f} MiB, a look {look_ms:.1f} ms, a frame {frame_ms:.1f} ms")
    assert took_mib < 200
    assert frame_ms < 150, "50 ms are meant; the machine is shared"


# The command.


def test_a_missing_textual_is_answered_with_the_line_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["top"]) == cli.MISSING_DEPENDENCY
    assert 'pip install "phasescope[top]"' in capsys.readouterr().err


@pytest.mark.parametrize("lacking", ["stdin", "stdout"])
def test_what_it_reads_from_and_draws_on_must_be_a_terminal(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(getattr(sys, name), "isatty", lambda is_one=name != lacking: is_one, raising=False)
    assert cli.main(["top"]) == cli.WRONG_USAGE


def test_it_needs_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["top"]) == cli.WRONG_USAGE
    assert "needs a terminal" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["999999999", "no/such.ring", "abcdef"])
def test_a_session_that_is_not_there_ends_the_command(capsys: pytest.CaptureFixture[str], target: str) -> None:
    assert cli.main(["top", target]) == cli.NOT_FOUND
    assert len(capsys.readouterr().err.splitlines()) == 1
