"""The compiled core by itself: what it says of itself, that nothing stays behind, and that its checksum is right."""

from __future__ import annotations

import contextlib
import gc
import random
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import _native, phase
from phasescope.cli.doctor import examine
from support.fakes.processes import in_new_python
from support.fakes.rings import MemoryRing, read_all
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from pathlib import Path

compiled = pytest.mark.skipif(_native.core is None, reason=f"no compiled core here: {_native.why_not}")
compiled_phases = pytest.mark.skipif(not _native.has_phases, reason=f"no compiled phases here: {_native.why_not}")


@compiled
def test_the_checksum_is_zlibs() -> None:
    chance = random.Random(1)
    for size in (*range(70), 1000, 15_360):
        data, start = chance.randbytes(size), chance.getrandbits(32)
        assert _native.core.crc32(data, start) == zlib.crc32(data, start)


@compiled
@pytest.mark.parametrize("damage", [None, 0, 1, 4, 8, 15, 16, 100])
def test_records_are_cut_out_as_python_does(damage: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    made = MemoryRing()
    made.write(300)
    if damage is not None:
        made.buffer[made.layout.data_offset + 5000 + damage] ^= 0x40
    found = []
    for core in (_native.core, None):
        monkeypatch.setattr(_native, "core", core)
        reader = made.reader()
        found.append((read_all(reader), reader.missed, reader.damaged))
    assert found[0] == found[1]
    assert len(found[0][0]) > 150


@compiled_phases
def test_phases_are_of_the_class_that_users_know() -> None:
    made = phase("step", n=1)
    assert isinstance(made, phase)
    assert type(made) is not phase
    assert made.__class__ is phase
    assert (type(made).__name__, type(made).__module__) == ("phase", phase.__module__)

    class Own(phase):
        pass

    assert type(Own("step")) is Own
    with pytest.raises(TypeError):
        phase()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match='write @phase\\("own"\\) above the function'):

        @phase  # type: ignore[arg-type]
        def own() -> None: ...


LEAKS = """
import gc, sys
import phasescope
from phasescope import phase, track
from phasescope.testing import FakeBackend

def some(count):
    for number in range(count):
        with phase("step", number=number % 7, text="abc"):
            with phase("inner"):
                pass

def odd(count):
    for number in range(count):
        try:
            with phase("raises"):
                raise ValueError("mine")
        except ValueError:
            pass
        for _ in track([1]):
            pass
        outer, inner = phase("outer"), phase("inner")
        outer.__enter__(), inner.__enter__()
        outer.__exit__(None, None, None), inner.__exit__(None, None, None)

with phasescope.start(backends=[{backend}], interval_ms=3_600_000, capacity_bytes=2**16) as session:
    some(1000), odd(100)
    gc.collect()
    before = sys.getallocatedblocks()
    some({count}), odd(2000)
    gc.collect()
    grown = sys.getallocatedblocks() - before
    print(grown, session.dropped)
"""


@compiled_phases
@pytest.mark.parametrize("backend", ['"cpu"', 'FakeBackend("cuda", allocated=1)'], ids=["cpu", "device"])
def test_half_a_million_phases_leave_nothing_behind(backend: str) -> None:
    grown, dropped = map(int, in_new_python(LEAKS.format(backend=backend, count=250_000)).split())
    assert grown < 200
    assert dropped == 0


@compiled_phases
def test_a_phase_that_serves_again_holds_nothing_of_the_one_before() -> None:
    """The core makes phases of the memory of phases that have ended."""
    with phasescope.start(backends=["cpu"], interval_ms=3_600_000):
        for _ in range(20):
            with phase("outer"), phase("inner", number=1):
                pass
        made: list[Any] = [phase("new") for _ in range(20)]
        for each in made:
            assert (each.phase_name, each.phase_attributes, each.event_writer) == ("new", None, None)
            assert (each.parent_scope, each.reentry_of, each.is_open, each.enter_sequence) == (None, None, False, 0)
            assert not hasattr(each, "phase_path")
            assert gc.is_tracked(each)
    assert len({id(each) for each in made}) == 20


@compiled_phases
def test_the_methods_of_a_phase_are_bound_as_any_others() -> None:
    """Before Python 3.14 the core binds them itself: what `with` binds costs a third of a phase without a session."""
    with phasescope.start(backends=["cpu"], interval_ms=3_600_000) as session:
        made: list[Any] = [phase("step", n=n) for n in range(20)]
        enters, exits = [each.__enter__ for each in made], [each.__exit__ for each in made]
        for enter, exit_, each in zip(enters, exits, made, strict=True):
            with phase("between"):
                pass
            assert enter() is each
            assert exit_(None, None, None) is None
        with contextlib.ExitStack() as stack:
            stack.enter_context(phase("stacked"))
        scopes = [event["metadata"]["phase_scope"] for event in session.events() if event["event_type"] == "phase_exit"]
    assert [scope["attributes"]["n"] for scope in scopes if scope["path"] == ["step"]] == list(range(20))
    assert scopes[-1]["path"] == ["stacked"]
    enter = made[0].__enter__
    assert (enter.__name__, enter.__self__, callable(enter)) == ("__enter__", made[0], True)
    assert repr(enter) == repr(type(made[0]).__enter__.__get__(made[0]))
    assert type(made[0]).__exit__(made[0], None, None, None) is None
    for method, arguments, named in (
        (enter, (1,), {}),
        (enter, (), {"a": 1}),
        (exits[0], (), {}),
        (exits[0], (), {"a": 1}),
    ):
        with pytest.raises(TypeError):
            method(*arguments, **named)


@compiled_phases
def test_a_bound_method_in_a_cycle_lets_go_of_its_phase() -> None:
    made: Any = phase("step")
    before = sys.getrefcount(made)
    cycle: list[Any] = [made.__enter__, made.__exit__]
    cycle.append(cycle)
    assert sys.getrefcount(made) == before + 2
    del cycle
    gc.collect()
    assert sys.getrefcount(made) == before


def test_doctor_says_whether_it_is_in_use(tmp_path: Path) -> None:
    assert examine(str(tmp_path))["compiled_core"] == {"in_use": _native.core is not None, "reason": _native.why_not}


def test_it_can_be_switched_off() -> None:
    code = "from phasescope import _native, phase; print(_native.core, type(phase('x')) is phase, _native.why_not)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PHASESCOPE_PURE_PYTHON": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=True,
    )
    assert done.stdout.strip() == "None True PHASESCOPE_PURE_PYTHON is set"


@compiled_phases
def test_a_backend_that_raises_is_told_and_asked_again_later() -> None:
    class Failing:
        name = "cuda"
        unavailable: tuple[str, ...] = ()
        fails = False

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

        def why_not(self) -> None: ...

        def ready(self) -> bool:
            return True

        def devices(self) -> tuple[int, ...]:
            return (0,)

        def current_device(self) -> int:
            return 0

        def allocator(self, device: int) -> Any:
            if self.fails:
                raise RuntimeError("no answer")
            return 1, 2, 3, 4

        def device(self, device: int) -> Any:
            return None, None, None

        def identity(self, device: int) -> None: ...

    backend = Failing()
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        with phase("well"):
            backend.fails = True
        with phase("after"):
            pass
        kinds = [event["event_type"] for event in session.events() if event["event_type"] != "sample"]
    assert kinds == ["start", "phase_enter", "collector_degraded", "phase_exit", "phase_enter", "phase_exit"]
    assert session.dropped == 0
