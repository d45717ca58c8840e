"""What the compiled core sums up of a ring is what Python does, also of one that is damaged or made to harm."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import phasescope
from phasescope import _native
from phasescope.analysis.summary.packed_summary import PackedFold
from phasescope.readers.ring_reader import RingReader
from phasescope.recordings.convert import convert
from phasescope.testing import FakeBackend
from phasescope.wire.codec import Decoder
from phasescope.wire.encoding import encode
from phasescope.wire.payloads import SegmentPayloads
from phasescope.wire.record_reader import RecordReader
from support.fakes.rings import CONSTANTS, MemoryRing
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

pytestmark = pytest.mark.skipif(_native.core is None, reason=f"no compiled core here: {_native.why_not}")

SCRIPT = Path(__file__).parent / "scripts" / "same_calls.py"


def both(ask: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the answer with the compiled core, and without."""
    answers = [ask()]
    with monkeypatch.context() as patch:
        patch.setattr(_native, "core", None)
        answers.append(ask())
    return answers


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Rings of all kinds of calls, on one device and on two."""
    folder = tmp_path_factory.mktemp("rings")
    folder.chmod(0o700)
    for seed in (20, 21, 22, 23):
        command = [sys.executable, str(SCRIPT), str(folder), str(seed), "250"]
        subprocess.run(command, env=dict(os.environ), check=True, capture_output=True, timeout=CEILING_S)
    return sorted(folder.glob("*.ring"))


def answers_of(paths: list[Path]) -> list[Any]:
    answers: list[Any] = []
    for path in paths:
        with phasescope.attach(path) as reader:
            summary = reader.summary()
            answers += [summary, str(summary), str(reader.explain()), reader.missed, reader.damaged]
    return answers


def test_summary_and_explanation_are_the_same(made: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, python = both(lambda: answers_of(made), monkeypatch)
    assert compiled == python
    assert len(made) == 4


def test_the_same_of_recordings(made: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{path.stem}.jsonl" for path in made]
    for ring_path, path in zip(made, paths, strict=True):
        with phasescope.attach(ring_path) as reader:
            convert([reader], path)

    compiled, python = both(lambda: answers_of(paths), monkeypatch)
    assert compiled == python


def test_few_lines_of_a_recording_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, made = tmp_path / "run.jsonl", []
    kept = PackedFold.add

    def counted(self: PackedFold, event: Mapping[str, Any]) -> Any:
        made.append(event)
        return kept(self, event)

    monkeypatch.setattr(PackedFold, "add", counted)
    gpu = FakeBackend("cuda", allocated=2**20)
    with phasescope.start(backends=[gpu], record=path, interval_ms=3_600_000, capacity_bytes=2**23) as session:
        for step in range(1000):
            with phasescope.phase("step"), phasescope.phase("forward", step=step):
                gpu.allocate(512)
        ring_path = session.path
    for source in (ring_path, path):
        made.clear()
        with phasescope.attach(source) as reader:
            summary = reader.summary()
        rows = {row.path: row.device_allocs for row in summary.rows}
        assert summary.events > 4000
        assert rows["step", "forward"] in (999, 1000)  # they begin with the first event that has them
        assert len(made) < 40


def payloads_of(path: Path) -> tuple[dict[str, Any], list[bytes]]:
    data = path.read_bytes()
    reader = RecordReader(lambda size, offset: data[offset : offset + size], len(data))
    return reader.constants, [payload for batch in reader.batches() for _, payload in batch]


def odd(payload: bytes, chance: random.Random) -> bytes:
    """Return a payload that is nearly what it was: with a value of another kind, one too many or too few, or other
    bytes."""
    kind = chance.randrange(6)
    if kind == 0 and payload:
        at = chance.randrange(len(payload))
        return payload[:at] + bytes([chance.randrange(256)]) + payload[at + 1 :]
    if kind == 1:
        return payload[: chance.randrange(len(payload) + 1)]
    if kind == 2:
        return payload + b"\xc0"
    if kind == 3:
        values = msgspec.msgpack.decode(payload)
        other: list[Any] = [
            None,
            -1,
            2**63,
            2**64 - 1,
            "text",
            "ünder",
            1.5,
            [],
            {},
            True,
            float("inf"),
            "error",
            b"\xff",
        ]
        values[chance.randrange(len(values))] = chance.choice(other)
        return msgspec.msgpack.encode(values)
    return payload


@pytest.mark.parametrize("seed", range(8))
def test_what_is_odd_counts_as_it_does_in_python(seed: int, made: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    constants, payloads = payloads_of(made[seed % len(made)])
    decoder = Decoder(constants)
    mixed = [odd(payload, chance) if chance.random() < 0.3 else payload for payload in payloads]

    def told() -> list[Any]:
        fold = PackedFold(f"{constants['session_id']}:", decoder)
        batches = [SegmentPayloads.of(mixed[at : at + 100]) for at in range(0, len(mixed), 100)]
        damaged = [fold.add_payloads(batch, decoder.boundaries) for batch in batches]
        summary = fold.summary()
        return [damaged, summary, str(summary), fold.device_rows()]

    compiled, python = both(told, monkeypatch)
    assert compiled == python
    assert sum(compiled[0]) > 10


@pytest.mark.parametrize("most", [3, 40, 70, 300])
@pytest.mark.parametrize("seed", range(3))
def test_phases_that_overlap_as_they_like(
    seed: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are entered twice, ended twice or never, and have parents that nobody saw; of a ring, and of its lines."""
    chance, payloads, opened = random.Random(seed), [], list(range(40, 44))
    for number in range(50, 1200):
        is_exit = len(opened) > chance.randrange(most) or chance.random() < 0.2
        scope = chance.choice(opened) if opened and chance.random() < 0.9 else chance.randrange(1, 1300)
        if is_exit and scope in opened and chance.random() < 0.9:
            opened.remove(scope)
        if not is_exit:
            scope = scope if chance.random() < 0.05 else number
            opened.append(scope)
        parent = chance.choice([None, *opened[-3:], chance.randrange(1, 1300)])
        path = [f"p{chance.randrange(9)}" for _ in range(chance.choice([1, 1, 2]))]
        device = ("cuda", chance.randrange(2), chance.choice([1, 2]), 3, 4, 0)
        status = chance.choice(["ok"] * 9 + ["error"])
        head = (
            10**9 + number,
            device,
            chance.randrange(99),
            chance.randrange(99),
            None,
            None,
            -1,
            None,
            None,
            number,
            scope,
        )
        whole = (*head, parent, (1, "Main"), path, None)
        ending = (number, status, None, number % 7 - 3, 5 if number % 11 == 0 else None)
        kind = "sample" if chance.random() < 0.01 else "phase_exit" if is_exit else "phase_enter"
        payloads.append(encode((kind, *whole, *(ending if is_exit else ()))))
    ring = MemoryRing(1 << 20, constants=CONSTANTS)
    for payload in payloads:
        ring.writer.append(payload)
    reader = RingReader(ring.read, lambda: ring.layout.size, None)
    convert([reader], tmp_path / "run.jsonl")

    def told() -> list[Any]:
        with phasescope.attach(tmp_path / "run.jsonl") as recording:
            folds = [each.fold() for each in (reader, recording)]
            spans = [(fold._spans.opened, fold._spans._ended_unentered) for fold in folds]
            order = [list(fold._spans.opened.items()) for fold in folds]
            return [spans, order, *(each.summary() for each in (reader, recording)), str(recording.explain())]

    compiled, python = both(told, monkeypatch)
    assert compiled == python
    assert len(compiled[1][0]) > most // 8
