"""start(sites=True): the lines that allocate what grows are found, and all is as it was afterwards."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import _native, phase
from phasescope.backends import torch_blocks
from phasescope.backends.torch_snapshot import History
from phasescope.capture.sites import Sites
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from phasescope import Session

counts = pytest.mark.skipif(not _native.has_phases, reason="the looks come with a census")


@pytest.fixture(autouse=True)
def untraced() -> Iterator[None]:
    if tracemalloc.is_tracing():
        pytest.skip("it runs already")
    yield
    assert not tracemalloc.is_tracing()


def looks(session: Session) -> list[dict[str, Any]]:
    events = session.events()
    return [each["metadata"]["allocation_lines"] for each in events if each["event_type"] == "allocation_lines"]


def steps(session: Session, kept: list[Any], until_step: int) -> None:
    """Steps of which each keeps 10 KB, and the look after each census."""
    for _ in range(until_step):
        with phase("step"):
            kept.append(bytearray(10_000))
            short_lived = [bytes(100) for _ in range(50)]
            short_lived.clear()
        if session._optional.census is not None and session._optional.census.taken > len(looks(session)):
            until(
                lambda: session._optional.census is not None and len(looks(session)) == session._optional.census.taken
            )


@counts
def test_the_line_that_grows_is_found_with_its_rate(tmp_path: Path) -> None:
    kept: list[Any] = []
    with phasescope.start(directory=tmp_path, backends=["cpu"], interval_ms=5, sites=True) as session:
        steps(session, kept, 80)
        taken = looks(session)
        explained = session.explain()
    line, *others = taken[-1]["grown"]
    assert all(each["per_step"] < 2000 for each in others)  # of the test's own looks
    at = steps.__code__.co_firstlineno + 4
    assert (line["file"], line["line"], line["device"]) == (__file__, at, "host")
    assert line["per_step"] == pytest.approx(10_000, rel=0.1)
    assert line["looks"] >= 3
    assert [each["step"] for each in taken] == sorted(each["step"] for each in taken)
    assert explained.to_dict()["lines"] == taken[-1]["grown"]
    assert session.dropped == 0


@counts
def test_what_was_on_before_stays_on_and_else_it_is_off_again(tmp_path: Path) -> None:
    with phasescope.start(directory=tmp_path, backends=["cpu"], interval_ms=5, sites=True) as session:
        assert not tracemalloc.is_tracing()  # of imports nothing is traced
        steps(session, [], 6)
        until(tracemalloc.is_tracing)
        assert tracemalloc.get_traceback_limit() == 1
    assert not tracemalloc.is_tracing()
    tracemalloc.start(7)
    sites = Sites()
    sites.begin()
    assert tracemalloc.get_traceback_limit() == 7
    sites.end()
    assert tracemalloc.is_tracing()
    tracemalloc.stop()
    sites.begin()
    tracemalloc.stop()  # by the training
    sites.end()
    assert not tracemalloc.is_tracing()


def test_a_forked_child_does_not_trace_on() -> None:
    sites = Sites()
    sites.begin()
    sites.abandon_in_child()
    assert not tracemalloc.is_tracing()
    sites.end()


class FakeMemory:
    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.is_on = False

    def _record_memory_history(self, enabled: str | None = "all", **options: Any) -> None:
        self.calls.append((enabled, options))
        self.is_on = enabled is not None

    def _dump_snapshot(self, path: str) -> None:
        raise AssertionError(path)


@pytest.mark.parametrize("was_on", [False, True])
def test_torchs_record_without_a_history_is_begun_once_and_ended_if_it_was_off(was_on: bool) -> None:
    memory = FakeMemory()
    memory.is_on = was_on
    history = History(memory, SimpleNamespace(_cuda_isHistoryEnabled=lambda: memory.is_on))
    history.begin_lines()
    history.begin_lines()
    history.end()
    begun = ("state", {"context": "state", "stacks": "python"})
    assert memory.calls == ([] if was_on else [begun, (None, {})])
    old = SimpleNamespace(_record_memory_history=lambda enabled: None)
    with pytest.raises(NotImplementedError):
        History(old, SimpleNamespace()).begin_lines()


TORCH = "/usr/lib/python3/site-packages/torch/nn/functional.py"


def block(size: int, *frames: tuple[str, int], state: str = "active_allocated") -> dict[str, Any]:
    told = [{"filename": file, "line": line, "name": "f"} for file, line in frames]
    return {"size": size, "state": state, "frames": told}


SEGMENTS = [
    {"device": 1, "total_size": 4096, "blocks": [
        block(1024, ("x.cpp", 0), (TORCH, 7), ("/me/train.py", 41)),
        block(512, (TORCH, 7), ("/me/train.py", 41), ("/me/train.py", 90)),
        block(2000, state="inactive"),
    ]},
    {"device": 0, "total_size": 512, "blocks": [block(512, state="active_pending_free"), block(64, (TORCH, 9))]},
]  # fmt: skip


def test_live_blocks_are_summed_up_by_the_innermost_line_that_is_not_torchs() -> None:
    asked: list[dict[str, Any]] = []

    def memory_snapshot(**options: Any) -> Any:
        asked.append(options)
        if options:
            raise TypeError("before 2.11")
        return SEGMENTS

    first, second = torch_blocks.read(memory_snapshot)
    assert asked == [{"include_traces": False}, {}]
    assert (first["index"], first["live_bytes"], first["traced_bytes"], first["live_blocks"]) == (0, 576, 64, 2)
    assert first["lines"][0]["file"] == TORCH
    assert (second["reserved_bytes"], second["largest_free_bytes"]) == (4096, 2000)
    assert second["lines"] == [{"file": "/me/train.py", "line": 41, "function": "f", "bytes": 1536, "count": 2}]


@counts
def test_the_lines_of_a_device_are_looked_at_too(tmp_path: Path) -> None:
    class Backend:
        name = "cuda"

        def __init__(self) -> None:
            self.calls: list[str] = []

        def sites_begin(self) -> None:
            self.calls.append("begin")

        def sites_end(self) -> None:
            self.calls.append("end")

        def live_blocks(self) -> list[dict[str, Any]]:
            return torch_blocks.summed_up(SEGMENTS)

    sites, backend = Sites(), Backend()
    sites.begin_on(backend)
    sites.begin_on(backend)
    collectors: Any = SimpleNamespace(admitted=[SimpleNamespace(name="cuda", backend=backend)])
    found, why_not = sites._lines(collectors)
    assert found["cuda:1", "/me/train.py", 41] == (1536, 2)
    assert "stopped" in why_not
    sites.end()
    assert backend.calls == ["begin", "end"]
    gc.collect()
    assert sys.modules["tracemalloc"]
