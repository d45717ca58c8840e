"""The census counts without running the training's code, keeping its objects, or disturbing the collector."""

from __future__ import annotations

import functools
import gc
import sys
import threading
import time
import weakref
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import _native, phase
from phasescope.capture import own_files
from phasescope.capture.census import base, budget, names
from phasescope.capture.census.histories import in_proportion
from phasescope.capture.census.lines import line_that_adds
from phasescope.capture.census.sources import Source, Sources
from phasescope.capture.census.steps import StepFinder
from phasescope.capture.phase_paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from phasescope import Session

pytestmark = pytest.mark.skipif(not _native.has_phases, reason="the compiled core counts")


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(budget, "_AT_LEAST_NS", 10**14)  # the cores may be busy
    with phasescope.start(census=True, directory=tmp_path, backends=["cpu"]) as started:
        yield started


def censuses(session: Session) -> list[dict[str, Any]]:
    return [event["metadata"]["census"] for event in session.events() if event["event_type"] == "census"]


def keepers(census: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {grown["keeper"]["expression"]: grown for grown in census["grown"] if "keeper" in grown}


class Touched(Exception):
    """Code of the training's was run."""


CALLS: list[str] = []


def touched(*_: Any, **__: Any) -> Any:
    CALLS.append(sys._getframe(1).f_code.co_name)
    raise Touched


class Meta(type):
    __hash__ = touched
    __eq__ = touched
    __instancecheck__ = touched
    __subclasscheck__ = touched
    __repr__ = touched


class Hostile(metaclass=Meta):
    """Tells if anything of it is asked."""

    def __init__(self, *held: Any) -> None:
        object.__setattr__(self, "held", list(held))

    __repr__ = __str__ = __eq__ = __hash__ = __len__ = __iter__ = __bool__ = touched
    __getattr__ = __sizeof__ = __reduce__ = touched
    __class__ = property(touched)
    __dict__ = property(touched)


class HostileList(list[object]):
    __len__ = __iter__ = __getitem__ = __repr__ = __eq__ = touched


def test_no_code_of_the_training_runs(session: Session) -> None:
    CALLS.clear()
    kept = HostileList()
    inside = Hostile()
    for _ in range(70):
        with phase("step"):
            list.append(kept, Hostile(inside))
            list.append(object.__getattribute__(inside, "held"), Hostile())
    taken = censuses(session)
    assert CALLS == []
    assert [census["step"] for census in taken] == [8, 16, 32, 64]
    assert session.dropped == 0
    grown = next(named["kept"] for named in map(keepers, reversed(taken)) if "kept" in named)  # not if time ran out
    assert (grown["of"], grown["keeper"]["container"]) == ("Hostile", "HostileList")


def test_objects_die_when_they_would_have(session: Session) -> None:
    class Batch:
        pass

    alive = []
    for _ in range(40):
        with phase("step"):
            batch = Batch()
            held = [batch, Batch()]
            alive.append(weakref.ref(batch))
            alive.append(weakref.ref(held[1]))
            del batch, held
        assert all(reference() is None for reference in alive)
    assert len(censuses(session)) == 3


@pytest.mark.parametrize(("by", "shape"), [("view", [256, 64]), ("view with a graph", [256, 32]), ("graph", [])])
def test_what_torch_itself_keeps_is_kept_by_who_has_its_views_and_graphs(
    session: Session, by: str, shape: list[int]
) -> None:
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 32))
    kept = []
    for _ in range(40):
        with phase("step"):
            inputs = torch.rand(256, 64)
            outputs = network(inputs)
            loss = outputs.square().mean()
            loss.backward(retain_graph=by == "graph")
            kept.append({"view": inputs[0], "view with a graph": outputs[0], "graph": loss}[by])
    census = censuses(session)[-1]
    (grown,) = (each for each in census["grown"] if each.get("shape") == shape)
    assert grown["keeper"]["expression"] == "kept"
    assert grown["keeper"]["kept"] >= 32 - 8
    if by == "graph":  # the losses are told, with what the graph of each saved, and that is not told once more
        assert grown["graph_saved_bytes"] >= 256 * 32 * 4
    else:
        assert grown["keeper"]["through"] == {"kind": "view"}
    assert not [each for each in census["grown"] if "keeper" not in each]
    gone = [weakref.ref(each) for each in (kept[0], kept[-1])]
    del inputs, outputs, loss
    kept.clear()
    assert [reference() for reference in gone] == [None, None]


def test_the_collector_is_left_as_it_is(session: Session) -> None:
    for enabled in (True, False):
        gc.collect()
        collections = [generation["collections"] for generation in gc.get_stats()]
        (gc.enable if enabled else gc.disable)()
        try:
            for _ in range(40):
                with phase("step"):
                    pass
            assert gc.isenabled() is enabled
        finally:
            gc.enable()
        after = [generation["collections"] for generation in gc.get_stats()]
        assert after[1:] == collections[1:]
    assert gc.get_stats()[2]["uncollectable"] == 0
    assert len(censuses(session)) >= 1


def test_locals_of_a_function_stay_what_they_were(session: Session) -> None:
    """`frame.f_locals` would fill the dict that `locals()` gave, and keep what is in it."""
    settings = locals()
    before = dict(settings)
    kept = []
    for step in range(40):
        with phase("step"):
            kept.append([step])
    assert len(censuses(session)) == 3
    assert settings.keys() == before.keys()


def test_an_interrupt_during_a_census_reaches_the_training(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("phasescope.capture.census.census.census_event", interrupted)
        with pytest.raises(KeyboardInterrupt):
            for _ in range(20):
                with phase("step"):
                    pass
    for _ in range(20):
        with phase("step"):
            pass
    assert [census["number"] for census in censuses(session)][-1] >= 1


def test_a_failing_census_is_counted_and_harms_nobody(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phasescope.capture.census.census.census_event", lambda *_: 1 / 0)
    for _ in range(40):
        with phase("step"):
            pass
    assert censuses(session) == []
    assert session.dropped == 3


def test_a_census_that_would_be_too_dear_is_put_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_AT_LEAST_NS", 0)
    with phasescope.start(census=True, directory=tmp_path, backends=["cpu"]) as session:
        for _ in range(200):
            with phase("step"):
                pass
        assert censuses(session) == []
    spent = budget.CensusBudget()
    spent._began_ns = time.monotonic_ns() - 10**13
    assert spent.allows()
    spent.spent_ns = 10**13 // 500
    assert not spent.allows()


def test_threads_that_step_at_once_are_counted_once_at_a_time(session: Session) -> None:
    def train() -> None:
        for _ in range(100):
            with phase("step"):
                pass

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [census["number"] for census in censuses(session)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert session.dropped == 0


def test_the_newest_census_stays_in_the_ring_however_long_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_AT_LEAST_NS", 10**14)
    small = 1 << 16
    with phasescope.start(
        census=True, directory=tmp_path, backends=["cpu"], capacity_bytes=small, interval_ms=10_000
    ) as session:
        for step in range(3000):
            with phase("step"):
                pass
            if step % 20 == 0:
                session._sampler.tick(0)
        newest = censuses(session)[-1]
        assert newest["step"] == 2048
        oldest = next(event for event in session.events() if event["event_type"] == "phase_enter")
        assert oldest["metadata"]["phase_scope"]["sequence"] > 2 * 2100  # it was overwritten where it stood first


def test_no_census_without_being_asked_for(tmp_path: Path) -> None:
    with phasescope.start(directory=tmp_path, backends=["cpu"]) as session:
        for _ in range(70):
            with phase("step"):
                pass
        assert censuses(session) == []


# --- its parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("looks", "since"),
    [
        ([(8, 8), (16, 16), (32, 32)], 8),
        ([(8, 0), (16, 0), (32, 16), (64, 48), (128, 112)], 16),  # it began later
        ([(8, 80), (16, 100), (32, 110), (64, 112)], None),  # a cache that fills
        ([(8, 8), (16, 16), (32, 32), (64, 32)], None),  # a buffer that is full
        ([(8, 8), (16, 40), (32, 10), (64, 60)], None),  # garbage
        ([(8, 8), (16, 16)], None),
        ([(8, 300), (16, 300), (32, 301), (64, 302)], None),
    ],
)
def test_what_rises_in_proportion_to_the_steps(looks: list[tuple[int, int]], since: int | None) -> None:
    risen = in_proportion(looks)
    assert (None if risen is None else risen.since_step) == since


def test_the_step_is_the_outermost_phase_that_comes_again() -> None:
    def found(round_of: list[tuple[str, ...]]) -> tuple[str, ...] | None:
        finder = StepFinder()
        for _ in range(8):
            for path_names in round_of:
                path = ROOT
                for name in path_names:
                    path = path.child(name)
                step = finder.take(path)
                if step is not None:
                    return step.names
        return None

    assert found([("step", "forward"), ("step", "backward"), ("step",)]) == ("step",)
    assert found([("epoch", "step", "forward"), ("epoch", "step")]) == ("epoch", "step")
    assert found([("step", "forward"), ("step", "forward"), ("step", "backward"), ("step",)]) == ("step",)
    assert found([*[("epoch", "step", "forward")] * 16, ("epoch", "step")]) == ("epoch", "step")
    assert found([*[("turn", "forward")] * 4, ("turn",)]) == ("turn",)
    assert found([*[("step", "forward")] * 100]) == ("step", "forward"), "what is called so never ends"
    assert found([("data",), ("forward",), ("optimizer",)]) == ("optimizer",)
    assert found([("epoch",)]) is None


class Slotted:
    __slots__ = ("rows",)

    def __init__(self, rows: Any) -> None:
        self.rows = rows


def test_names_are_those_of_the_program() -> None:
    rows: list[Any] = []
    plain, pair = SimpleNamespace(log={"rows": rows}), (1, rows)
    ways: list[tuple[list[Any], str]] = [
        ([{"rows": rows}, rows], "rows"),
        ([{"plain": plain}, plain, plain.log, rows], 'plain.log["rows"]'),
        ([{"plain": plain}, plain, plain.__dict__, plain.log, rows], 'plain.log["rows"]'),
        ([{"pair": pair}, pair, rows], "pair[1]"),
    ]
    for way, expression in ways:
        assert names.expression(way)[0] == expression
    slotted = Slotted(rows)
    assert names.expression([{"it": slotted}, slotted, rows])[0] == "it.rows"

    def hook() -> Any:
        return rows

    assert hook.__closure__ is not None
    closure = [{"hook": hook}, hook, hook.__closure__, hook.__closure__[0], rows]
    assert names.expression(closure)[0] == "hook.rows"


def adds_in_many_ways(kept: Any, other: Any) -> Any:
    other.append(1)
    first = kept[0]
    kept.append(
        first,
    )
    return len(kept)


def test_the_line_that_adds_is_found() -> None:
    sources = Sources(None)
    sources.own[:] = [Source({"adds": adds_in_many_ways}, __file__, None, __name__, True)]
    sources.modules_running.clear()
    line = line_that_adds("kept", sources)
    assert line is not None
    assert line.line - adds_in_many_ways.__code__.co_firstlineno in (3, 4)
    assert line.function == "adds_in_many_ways"
    assert line_that_adds("first", sources) is None


def test_the_line_of_a_loop_in_no_function_is_found(tmp_path: Path) -> None:
    """As most scripts are written."""
    script = tmp_path / "loop.py"
    program = "history = []\nfor step in range(3):\n    history.append(step)\nfound = look()\n"
    names: dict[str, Any] = {"look": lambda: line_that_adds("history", Sources(sys._getframe(1)))}
    exec(compile(program, script, "exec"), names)
    assert names["found"] is not None
    assert (names["found"].file, names["found"].line, names["found"].function) == ("loop.py", 3, "<module>")


def test_bounds_of_containers_are_known() -> None:
    cached = functools.lru_cache(maxsize=7)(abs)
    cached(-1)
    assert (base.bound_of(deque(maxlen=3)), base.bound_of(cached), base.bound_of([])) == (3, 7, None)
    assert (base.length_of(cached), base.container_name(cached)) == (1, "lru_cache")


def test_installed_libraries_and_python_are_not_the_trainings_own() -> None:
    assert own_files.is_own_file(__file__)
    assert not own_files.is_own_file(threading.__file__)
    assert not own_files.is_own_file(pytest.__file__)
    assert not own_files.is_own_file("<stdin>")
