"""Recordings that somebody else made, by accident or on purpose: every command ends with an answer or with one line."""

from __future__ import annotations

import copy
import gzip
import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from phasescope import attach, cli
from phasescope.recordings.notes import Note
from support.events import MadeSession
from support.recordings import SESSION, Event, steps, write
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pyarrow = pytest.importorskip("pyarrow")

NESTED = json.loads("[" * 200 + "]" * 200)
VALUES: tuple[Any, ...] = (
    *(2**63, 2**64, 2**200, -(2**63) - 1, -1, 0, 1.5, 1e308, float("nan"), None, True),
    *("", "\ud800", "\x1b[31mX", "a\nb", "é\u2028", "x" * 5000, "\x00", "running"),
    *([], {}, [1, "a", None], {"path": []}, NESTED),
)
COMMANDS = (
    *(["tail", "IN", "--all", "--no-follow"], ["tail", "IN", "-n", "3", "--no-follow", "--json"], ["summary", "IN"]),
    *(["summary", "IN", "--json"], ["explain", "IN"], ["explain", "IN", "--json"], ["compare", "GOOD", "IN"]),
    *(["compare", "IN", "GOOD", "--json"], ["ranks", "GOOD", "IN"], ["convert", "IN", "out.jsonl.gz"]),
    *(["convert", "IN", "out.parquet"], ["convert", "IN", "out.json"], ["convert", "IN", "out.perfetto-trace"]),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything inside of a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed(event: Event, chance: random.Random) -> Event:
    """The event with one to three of its values replaced or left out."""
    event = copy.deepcopy(event)
    for _ in range(chance.randint(1, 3)):
        *way, last = chance.choice(list(places(event)))
        inner: Any = event
        for key in way:
            inner = inner[key]
        if isinstance(inner, dict) and chance.random() < 0.2:
            del inner[last]
        else:
            inner[last] = copy.deepcopy(chance.choice(VALUES))
    return event


def hostile(chance: random.Random) -> bytes:
    """A recording in which a third of the events say nonsense, and some bytes are wrong."""
    session = MadeSession()
    events = [Note(SESSION).to_event(), *steps(12, session)]
    events += [
        session.event(kind, context="CUDA out of memory. Tried to allocate 2.00 GiB") for kind in ("error", "stop")
    ]
    told = [changed(event, chance) if chance.random() < 0.3 else event for event in events]
    data = bytearray(b"".join(json.dumps(event).encode() + b"\n" for event in told))
    for _ in range(chance.choice((0, 0, 3))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("seed", range(25))
def test_every_command_has_an_answer_or_one_line(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    good, bad = write(tmp_path / "good.jsonl", steps(12)), tmp_path / "bad.jsonl"
    bad.write_bytes(hostile(random.Random(seed)))
    for command in COMMANDS:
        words = [{"IN": str(bad), "GOOD": str(good)}.get(word, word) for word in command]
        code = cli.main(words)
        out, err = capsys.readouterr()
        assert code in (cli.OK, cli.NOT_FOUND, cli.PROBLEM), words
        assert "Traceback" not in err
        assert not set(out + err) & {"\x1b", "\x00", "\u2028"}, words
        if code == cli.OK and "--json" in words:
            for text in out.splitlines() if words[0] == "tail" else [out]:
                json.loads(text)
        if code == cli.OK and words[-1].endswith(("parquet", "gz")):
            with attach(tmp_path / words[-1]) as reader:
                reader.summary()


NUMBERS = ("pid", "device_id", "device_used_bytes", "allocator_allocated_bytes", "sampling_interval_ms")


@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_that_parquet_has_no_room_for_leaves_one_event_out(
    tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    events = steps(50)
    events[7] = {**events[7], key: 2**63, "device_total_bytes": None}
    path, table = write(tmp_path / "run.jsonl", events), tmp_path / "run.parquet"
    assert cli.main(["convert", str(path), str(table)]) == cli.OK
    assert "1 event left out: a number in them is beyond the 64 bits" in capsys.readouterr().out
    with attach(table) as reader:
        assert reader.events() == events[:7] + events[8:]
    assert cli.main(["convert", str(table), str(tmp_path / "again.parquet")]) == cli.OK


def test_a_text_in_a_parquet_file_that_is_none_costs_its_own_row(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    events = steps(20)
    table, plain = tmp_path / "run.parquet", tmp_path / "plain.parquet"
    assert cli.main(["convert", str(write(tmp_path / "run.jsonl", events)), str(table)]) == cli.OK
    parquet.write_table(
        parquet.read_table(table), plain, compression="none", use_dictionary=False, write_statistics=False
    )
    data = plain.read_bytes()
    at = data.rindex(b'"name":"step"')
    plain.write_bytes(data[:at] + b'"name":"st\xffp"' + data[at + 13 :])
    with attach(plain) as reader:
        assert len(reader.events()) == len(events) - 1
        assert reader.damaged == 1
    at = data.index(b"node-07")
    plain.write_bytes(data[:at] + b"node\xff07" + data[at + 7 :])
    with attach(plain) as reader:
        assert reader.events() == events[1:]
        assert (reader.damaged, len(reader.problems)) == (1, 1)


def test_an_event_need_not_name_its_backend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = [{**event, "collector": "another.tool"} for event in (*steps(2), MadeSession().event("sample"))]
    for event in events:
        del event["metadata"]["backend"]
    path = tmp_path / "run.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    for command in (
        ["tail", "--all", "--no-follow"],
        ["summary"],
        ["explain"],
        ["convert", str(tmp_path / "run.json")],
    ):
        name, *more = command
        assert cli.main([name, str(path), *more]) in (cli.OK, cli.PROBLEM)
    assert "device:0" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["deep.json", "deep.html"])
@pytest.mark.parametrize("around", ["[]", ('{"phases":', "}")])
def test_json_that_is_nested_too_deeply_is_one_line(
    tmp_path: Path, name: str, around: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    deep = around[0] * 100_000 + "1" + around[1] * 100_000
    page = f'<script type="application/json" id="data">{deep}</script>'
    (tmp_path / name).write_text(page if name.endswith("html") else deep)
    assert cli.main(["compare", str(tmp_path / name), str(tmp_path / name)]) == cli.NOT_FOUND
    err = capsys.readouterr().err
    assert "holds no summary" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["\x1b]0;title\x07"],
        ["summary", "--\x1b[31m"],
        ["summary", "a", "\x1b[2J"],
        ["tail", "-n", "\x1b[2J"],
        ["compare", "a", "b", "--fail-on", "\x9b2J"],
        ["web", "--port", "\x1b[2J\nphasescope: all is well"],
        ["record", "-o", "\x1b[2J"],
        ["convert", "a", "\x1b[2J"],
        ["summary", "\x1b[2J.jsonl"],
        ["ls", "--dir", "\x1b[2J"],
    ],
)
def test_no_word_of_a_command_line_is_given_to_the_terminal_as_an_order(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) in (cli.NOT_FOUND, cli.WRONG_USAGE)
    out, err = capsys.readouterr()
    assert not set(out + err) & {"\x1b", "\x07", "\x9b"}


def named(kind: str, name: str, event: Event) -> Event:
    """The event with this name in some place that readers keep."""
    event = copy.deepcopy(event)
    scope = event["metadata"]["phase_scope"]
    if kind == "device":
        event["metadata"]["backend"] = name
    elif kind == "session":
        event["session_id"] = name
    elif kind == "phase":
        scope.update(name=name, path=[name])
    else:
        scope[kind] = name
    return event


PEAK = """
import sys
from phasescope import cli
cli.main(["summary", sys.argv[1]])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("peak", int(status["VmHWM"].split()[0]) >> 10)  # ru_maxrss would be the parent's where that is the larger one
"""


@pytest.mark.parametrize("kind", ["phase", "device", "scope_id"])
def test_a_small_file_with_long_names_takes_no_large_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run.jsonl.gz"
    enter = steps(1)[0]
    with gzip.open(path, "wb", compresslevel=1) as file:
        for number in range(250):
            event = named(kind, f"{number}{'x' * 300_000}", enter)
            file.write(json.dumps({**event, "timestamp_ns": enter["timestamp_ns"] - 250 + number}).encode() + b"\n")
        for event in steps(3):
            file.write(json.dumps(event).encode() + b"\n")
    assert path.stat().st_size < 3 << 20
    done = subprocess.run(
        [sys.executable, "-c", PEAK, path], capture_output=True, text=True, timeout=CEILING_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 90  # MiB; the names are 75
    with attach(path) as reader:
        assert reader.events() == steps(3)
        assert reader.damaged == 250
        assert "a name of 3000" in str(reader.problems[0]) or "a name of 300001" in str(reader.problems[0])


def test_of_very_many_sessions_the_first_are_named_and_all_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    events = steps(2)
    others = [{**events[0], "session_id": f"other {number}"} for number in range(3000)]
    path.write_text("".join(json.dumps(event) + "\n" for event in (*others, *events)))
    with attach(path) as reader:
        assert reader.events() == events
        assert len(reader.others) == 1001
        assert sum(reader.others.values()) == 3000
        assert reader.others["further sessions"] == 2000
