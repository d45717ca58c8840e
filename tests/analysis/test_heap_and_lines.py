"""What of a growth lies in pieces in the C library's heap, and which lines allocated it: only what the figures show."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from phasescope import attach
from phasescope.analysis.diagnosis.heap import HeapFold, heap_text
from phasescope.analysis.diagnosis.lines import LinesFold, line_text, lines_behind
from support.fakes.made_rings import MIB, made_ring
from support.growths import GROWS

if TYPE_CHECKING:
    from pathlib import Path


def census(step: int, free: int, used: int = 50 * MIB) -> dict[str, Any]:
    heap = {"heap_used_bytes": used, "heap_free_bytes": free, "heap_mapped_bytes": 0}
    return {"event_type": "census", "metadata": {"census": {"number": 1, "step": step, "heap": heap}}}


def looks(*frees: tuple[int, int]) -> Any:
    fold = HeapFold()
    for step, free in frees:
        fold.take(census(step, free))
        fold.take(census(step, free + 1))  # the newest is written again
    return fold.result()


def test_a_heap_in_pieces_is_said_where_it_accounts_for_the_growth() -> None:
    in_pieces = looks((8, MIB), (64, 100 * MIB), (128, 220 * MIB), (256, 470 * MIB))
    text = heap_text(GROWS, in_pieces)
    assert text is not None
    assert text.startswith("370 MiB of it became free within the C library's heap, from step 64 to 256")
    assert heap_text(replace(GROWS, grows=False), in_pieces) is None
    assert heap_text(replace(GROWS, device="cuda:0"), in_pieces) is None
    assert heap_text(replace(GROWS, bytes_per_step=10.0 * MIB), in_pieces) is None


@pytest.mark.parametrize(
    "frees",
    [
        ((64, MIB), (128, 220 * MIB)),
        ((64, 100 * MIB), (128, 220 * MIB), (256, 230 * MIB)),  # it did once
        ((64, 100 * MIB), (128, 50 * MIB), (256, 470 * MIB)),
        ((128, 100 * MIB), (256, 470 * MIB), (8, 0)),  # another loop
    ],
)
def test_it_is_not_said_of_what_comes_and_goes(frees: tuple[tuple[int, int], ...]) -> None:
    assert heap_text(GROWS, looks(*frees)) is None


def line(**fields: Any) -> dict[str, Any]:
    told = {"device": "host", "file": "/x/train.py", "line": 41, "bytes": 400 * MIB, "count": 400, "before": 16 * MIB,
            "since_step": 8, "per_step": 1.5 * MIB, "looks": 5}  # fmt: skip
    return {**told, **fields}


def test_the_lines_that_account_for_a_growth_are_named_the_fastest_first() -> None:
    fold = LinesFold()
    grown = [line(per_step=0.01 * MIB), line(line=9), line(line=7, per_step=1.9 * MIB), line(device="cuda:0"), 3, {}]
    fold.take({"event_type": "allocation_lines", "metadata": {"allocation_lines": {"step": 256, "grown": grown}}})
    newest = fold.result()
    assert [each.line for each in lines_behind(GROWS, newest)] == [7, 9]
    assert lines_behind(replace(GROWS, grows=False), newest) == ()
    assert line_text(lines_behind(GROWS, newest)[1], 256) == (
        "grew by 384 MiB that train.py:9 allocated, 1.50 MiB a step, from step 8 to 256 (400 MiB in 400 blocks now)"
    )
    hostile: Any
    for hostile in ([], {"grown": 3}, {"grown": [{"file": "x", "per_step": float("nan")}], "why_not": 7}):
        fold.take({"event_type": "allocation_lines", "metadata": {"allocation_lines": hostile}})


def test_explain_names_the_lines(tmp_path: Path) -> None:
    with made_ring(tmp_path) as ring:
        ring.event("start")
        for step in range(1, 400):
            ring.allocated += MIB
            ring.run(["step"], 5.0)
            if step in (64, 128, 256):
                told = {"step": step, "grown": [line(device="cuda:0", per_step=MIB)]}
                ring.event("allocation_lines", extra={"allocation_lines": told})
        ring.stop()
        with attach(ring.path) as reader:
            answer = reader.explain()
    assert answer.cause.kind == "growth", str(answer)
    assert any("that train.py:41 allocated" in held for held in answer.held), answer.held
    assert answer.to_dict()["lines"][0]["line"] == 41
