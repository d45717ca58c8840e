"""Damaged and foreign recordings: as much as is sound is read, and what is not is counted and named."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import phasescope
from phasescope import attach, validate_event
from phasescope.recordings.formats import compression_of
from phasescope.recordings.line_stream import MAX_LINE_BYTES, read_lines
from phasescope.recordings.line_text import line_of
from support.events import MadeSession
from support.recordings import ENDINGS, steps, write

EVENTS = steps(60)
OFTEN = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _recorded(ending: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write(Path(folder) / f"run{ending}", EVENTS).read_bytes()


WHOLE = {ending: _recorded(ending) for ending in ENDINGS}


def read(data: bytes, ending: str) -> tuple[list[dict[str, Any]], int, list[str]]:
    """The events, how many places were damaged, and what is said of them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"run{ending}"
        path.write_bytes(data)
        try:
            with attach(path) as reader:
                events = reader.events()
                reader.summary()
                _ = (reader.state, reader.latest(), reader.heartbeat_ns, reader.dropped)
                return events, reader.damaged, [str(problem) for problem in reader.problems]
        except phasescope.SessionNotFoundError as error:
            return [], 0, [str(error)]


@OFTEN
@given(st.sampled_from(ENDINGS), st.floats(0, 1))
def test_cut_anywhere_it_gives_all_before_the_cut(ending: str, share: float) -> None:
    data = WHOLE[ending]
    size = int(share * len(data))
    events, damaged, _ = read(data[:size], ending)
    assert events == EVENTS[: len(events)]
    assert damaged <= 1
    if ending == ".jsonl":
        whole = data[: size + 1].count(b"\n") - 1  # also the one that lacks only its end; the first is a note
        assert len(events) == max(0, min(len(EVENTS), whole))


def test_a_line_that_lacks_only_its_end_is_an_event() -> None:
    lines = WHOLE[".jsonl"].splitlines()
    assert read(b"\n".join(lines[:57]), ".jsonl") == (EVENTS[:56], 0, [])


@OFTEN
@given(st.sampled_from(ENDINGS), st.data())
def test_with_bytes_changed_it_gives_valid_events_and_counts_the_rest(ending: str, data: st.DataObject) -> None:
    damaged_file = bytearray(WHOLE[ending])
    places = data.draw(st.lists(st.integers(0, len(damaged_file) - 1), min_size=1, max_size=5))
    for place in places:
        damaged_file[place] ^= data.draw(st.integers(1, 255))
    events, _, _ = read(bytes(damaged_file), ending)
    for event in events:
        validate_event(event)
    if ending == ".jsonl":
        sound = sum(event in EVENTS for event in events)
        assert sound >= len(EVENTS) - 2 * len(places)  # where a line's end was changed, two lines are one


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst"])
def test_damage_in_one_compressed_block_leaves_the_others(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"run{ending}"
    blocks = [steps(10, MadeSession(pid=pid)) for pid in range(1, 6)]
    data = b""
    for number, block in enumerate(blocks):
        part = write(tmp_path / f"{number}{ending}", block).read_bytes()
        data += part if number != 2 else part[: len(part) // 2] + b"\xff" * 40 + part[len(part) // 2 + 40 :]
    path.write_bytes(data)
    with attach(path) as reader:
        events = reader.events()
        assert [event for event in events if event["pid"] != 3] == [*blocks[0], *blocks[1], *blocks[3], *blocks[4]]
        assert reader.damaged >= 1
        assert "damaged" in " ".join(map(str, reader.problems))


def test_bad_lines_are_named_by_their_number(tmp_path: Path) -> None:
    good = [line_of(event) for event in steps(3)]
    path = tmp_path / "run.jsonl"
    foreign = [b'{"loss": 0.3}\n', b"[1, 2]\n", b"null\n", b"\x00\xff\xfe\n", b"{\n", b"\n"]
    wrong = line_of(steps(1)[0] | {"device_id": True})
    nan = line_of(steps(1)[0]).replace(b'"device_id":0', b'"device_id":NaN')
    path.write_bytes(good[0] + b"".join(foreign) + good[1] + wrong + nan + good[2])
    with attach(path) as reader:
        assert reader.events() == [steps(3)[0], steps(3)[1], steps(3)[2]]
        assert reader.damaged == 7  # an empty line is nothing
        assert [problem.line for problem in reader.problems] == [2, 3, 4, 5, 6, 9, 10]
        texts = [problem.text for problem in reader.problems]
    assert "unknown top-level keys: loss" in texts[0]
    assert "an event is list" in texts[1]
    assert all(text.startswith("not JSON") for text in (texts[3], texts[4], texts[6]))
    assert texts[5] == "device_id is True; it must be an int"


def test_so_many_problems_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"{}\n" * 5000 + line_of(steps(1)[0]))
    with attach(path) as reader:
        assert len(reader.events()) == 1
        assert (reader.damaged, len(reader.problems)) == (5000, 100)


def test_a_line_without_end_is_passed_over_in_bounded_memory() -> None:
    class Endless(io.RawIOBase):
        left = 64 * 2**20

        def read(self, size: int = -1) -> bytes:
            self.left -= size
            return b"x" * size if self.left > 0 else (b"\nafter\n" if self.left > -size else b"")

    reports: list[str] = []
    longest = 0
    lines = []
    for batch in read_lines(Endless(), reports.append):  # type: ignore[arg-type]
        longest = max(longest, *map(len, batch))
        lines += [(batch.first + index, line) for index, line in enumerate(batch)]
    assert lines == [(2, b"after")]
    assert longest < MAX_LINE_BYTES
    assert reports == [f"line 1: longer than {MAX_LINE_BYTES} bytes"]


def test_notes_that_are_made_up_are_not_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", steps(2))
    lies: list[dict[str, Any]] = [{"events": -5}, {"missed": "many"}, {"session": []}, {"events": 1 << 70}]
    for lie in lies:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            if "recording" in line["metadata"]:
                line["metadata"]["recording"].update(lie)
        lied = tmp_path / "lied.jsonl"
        lied.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with attach(lied) as reader:
            assert reader.events() == steps(2)
            assert reader.missed == 0
            assert reader.constants["pid"] == 4242


@pytest.mark.parametrize("ending", ENDINGS)
def test_random_bytes_are_no_recording_and_no_accident(tmp_path: Path, ending: str) -> None:
    import random

    path = tmp_path / f"run{ending}"
    beginning = {"gz": b"\x1f\x8b\x08\x00", "zst": b"\x28\xb5\x2f\xfd"}.get(compression_of(path) or "", b"")
    path.write_bytes(beginning + random.Random(7).randbytes(300_000))
    with pytest.raises(phasescope.SessionNotFoundError, match="no event"):
        attach(path)
