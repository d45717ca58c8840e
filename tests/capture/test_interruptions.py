"""Exceptions on their way through phases: as they were, wherever they come from."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import _native, phase
from support.assertions import events_of, paths
from support.fakes.processes import in_new_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def of_a_missing_key() -> object:
    return dict[str, int]()["missing"]


def of_a_missing_attribute() -> object:
    return object().missing  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "breaks", [lambda: 1 / 0, of_a_missing_key, of_a_missing_attribute, lambda: next(iter(()))], ids=range(4)
)
def test_an_exception_leaves_phases_with_the_traceback_that_it_would_have(breaks: Callable[[], object]) -> None:
    def way_out(watch: Callable[[str], contextlib.AbstractContextManager[object]]) -> list[Any]:
        with pytest.raises((ZeroDivisionError, LookupError, AttributeError, StopIteration)) as caught:
            with watch("outer"):
                with watch("inner"):
                    breaks()
        error = caught.value
        places = [(entry.name, entry.lineno) for entry in traceback.extract_tb(error.__traceback__)]
        return [places, error.__context__, error.__cause__, getattr(error, "__notes__", None)]

    plain = way_out(lambda name: contextlib.nullcontext())
    with phasescope.start(backends=["cpu"], interval_ms=1):
        assert way_out(phase) == plain


class Handled(TimeoutError):
    """What a signal handler raises: an OSError, as that of a time limit mostly is."""


def a_boundary() -> None:
    with phase("interrupted", n=1):
        pass


@pytest.fixture(params=["in Python", "compiled"])
def is_interpreted(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Boundaries in Python, whatever there is, and then in the compiled core. Collections are off: they switch, too."""
    if request.param == "compiled" and not _native.has_phases:
        pytest.skip("there is no compiled core here")
    is_interpreted = request.param == "in Python"
    gc.disable()
    if is_interpreted and _native.has_phases:
        _native.core.interpret(True)
    yield is_interpreted
    if is_interpreted and _native.has_phases:
        _native.core.interpret(False)
    gc.enable()


@pytest.mark.parametrize("kind", [Handled, KeyboardInterrupt, ValueError, RuntimeError, MemoryError])
def test_what_a_signal_handler_raises_comes_out_wherever_in_a_boundary_it_runs(
    kind: type[BaseException], is_interpreted: bool
) -> None:
    """Python runs handlers when a function begins and when a call of a built-in one returns: each such moment once.

    How many there are with the compiled core depends on the frameworks that are loaded, for those are asked in Python.

    But for one: before the first line of `__exit__` nothing of ours can catch. There the phase stays open.
    """
    inside = str(Path(phasescope.__file__).parent)
    moments = left = 0
    raised = kind()

    def handler(frame: Any, event: str, _: object) -> None:
        nonlocal left
        if event not in ("call", "c_return") or not frame.f_code.co_filename.startswith(inside):
            return
        if (event, frame.f_code) != ("call", phase.__exit__.__code__):
            left -= 1
            if left == 0:
                raise raised

    with phasescope.start(interval_ms=3_600_000) as session:
        a_boundary()
        while True:
            left, raised, caught = moments + 1, kind("of the handler"), None
            try:
                sys.setprofile(handler)
                a_boundary()
            except BaseException as error:
                caught = error
            finally:
                sys.setprofile(None)
            if left > 0:
                break
            moments += 1
            assert caught is raised, f"moment {moments}"
            raised.__traceback__ = None
            assert not session._writer.open, f"moment {moments}"
            with phase("next"):
                pass
            assert session.events(last=1)[0]["metadata"]["phase_scope"]["path"] == ["next"], f"moment {moments}"
    assert moments > 15 or not is_interpreted
    assert paths(session).count("next") == moments
    enters, exits = (events_of(session, f"phase_{end}") for end in ("enter", "exit"))
    assert len(enters) == len(exits)
    assert session.degraded == 0


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits there")
def test_a_process_that_may_open_no_more_files_trains_on_and_is_watched() -> None:
    said = in_new_python(
        """
        import resource
        import phasescope
        from phasescope import phase
        session = phasescope.start(interval_ms=1)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        for _ in range(100):
            with phase("step"):
                pass
        phasescope.stop()
        print(session.written >= 202, session.dropped)
        """
    )
    assert said == "True 0"


STOPPED_BY_A_SIGNAL = """
import os, signal, sys
import phasescope

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGUSR1)

def handler(*_):
    phasescope.stop()
    print("stopped", phasescope.current())

signal.signal(signal.SIGUSR1, handler)
sys.meta_path.insert(0, Finder())
session = phasescope.start()
with phasescope.phase("step"):
    session.records()
phasescope.stop()
print(session.latest()["event_type"], phasescope.current())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal here")
@pytest.mark.parametrize(
    "module",
    ["phasescope.capture.backend_selection", "phasescope.capture.phase", "phasescope.backends.cpu", "hashlib"],
)
def test_stop_in_a_signal_handler_while_a_module_is_loaded(module: str) -> None:
    """Of the package itself, of a backend that start() looks for, and one that reading needs."""
    said = in_new_python(STOPPED_BY_A_SIGNAL.format(module=module)).splitlines()
    assert said == ["stopped None", "stop None"]
