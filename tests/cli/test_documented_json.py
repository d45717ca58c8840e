"""What `explain --json` and `compare --json` print is what docs/explain.md says, key by key, in both directions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.analysis.diagnosis import cause, ending, exhausted_limits
from phasescope.cli import main
from support.fakes.made_rings import MIB, MadeRing, made_ring

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs" / "explain.md"


def section(heading: str) -> str:
    """What docs/explain.md says of a command's JSON."""
    of_command = DOCS.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return of_command.partition("### As JSON")[2]


def keys_in(value: Any) -> Iterator[str]:
    """All keys at any depth; those of `figures` are the cause's own."""
    if isinstance(value, dict):
        for key, held in value.items():
            yield key
            if key != "figures":
                yield from keys_in(held)
    elif isinstance(value, list):
        for item in value:
            yield from keys_in(item)


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[MadeRing]:
    """A session that leaks, runs out of memory, and died with its phases open."""
    with made_ring(tmp_path) as ring:
        ring.event("start")
        for _ in range(100):
            ring.allocated += 8 * MIB
            ring.run(["step"], 5.0)
        step = ring.enter(["step"])
        told = {"out_of_memory": True, "error_type": "OutOfMemoryError", "requested_bytes": 512 * MIB}
        ring.event("error", 9001, step, None, [1, "MainThread"], ["step"], context="CUDA out of memory", extra=told)
        ring.die()
        yield ring


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) in (0, 4)
    return json.loads(capsys.readouterr().out)


def test_every_key_of_explain_is_documented(ring: MadeRing, capsys: pytest.CaptureFixture[str]) -> None:
    data = printed(capsys, "explain", ring.path)
    assert data["growth"]
    assert data["growth"][0]["retained_bytes"]
    assert data["ending"]["open_phases"]
    documented = section("phasescope explain")
    assert not {key for key in keys_in(data) if f"`{key}`" not in documented}


def test_every_key_documented_of_explain_is_there(ring: MadeRing, capsys: pytest.CaptureFixture[str]) -> None:
    first_column = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section("phasescope explain"), re.MULTILINE)
    names = {name for cell in first_column for name in re.findall(r"`(\w+)`", cell)}
    assert names == printed(capsys, "explain", ring.path).keys()


def test_the_kinds_of_a_cause_and_of_an_ending_are_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for module, known in (
        (ending, "device_out_of_memory"),
        (cause, "fragmentation"),
        (exhausted_limits, "worker_killed"),
    ):
        constants = [value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)]
        kinds = {value for value in constants if re.fullmatch(r"[a-z_]+", value)}
        assert known in kinds
        assert not {kind for kind in kinds if f"`{kind}`" not in text}


def test_every_key_of_compare_is_documented_and_the_other_way_round(
    ring: MadeRing, capsys: pytest.CaptureFixture[str]
) -> None:
    data = printed(capsys, "compare", ring.path, ring.path, "--all", "--fail-on", "time>0%")
    documented = section("phasescope compare")
    assert data["phases"][0]["changes"]
    assert not {key for key in keys_in(data) if f"`{key}`" not in documented}
    schema = documented.partition("`violations`")[0]
    of_change = {"metric", "unit", "before", "after", "difference", "ratio", "noise", "verdict"}
    verdicts, units = {"worse", "better", "same", "new", "gone", "unknown"}, {"ns", "bytes"}
    told = set(re.findall(r"`(\w+)`", schema)) - verdicts - units
    assert (
        told == {"schema_version", "comparable", "phases", "path", "count_before", "count_after", "changes"} | of_change
    )
    assert of_change <= data["phases"][0]["changes"][0].keys()


def test_every_key_of_a_violation_is_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for number, ms in enumerate((5.0, 12.0)):
        with made_ring(tmp_path / str(number)) as ring:
            ring.event("start")
            for _ in range(50):
                ring.run(["step"], ms)
            ring.stop()
            paths.append(ring.path)
    data = printed(capsys, "compare", *paths, "--fail-on", "time>5%")
    documented = section("phasescope compare").partition("`violations`")[2]
    (violation,) = data["violations"]
    assert not {key for key in violation if f"`{key}`" not in documented}
