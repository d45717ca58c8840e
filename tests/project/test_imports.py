"""What `import phasescope` brings with it, and what it gives out. Each import happens in a fresh process."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
from typing import Any

import pytest

import phasescope
from support.fakes.processes import in_new_python

HEAVY = (
    *("torch", "tensorflow", "keras", "lightning", "pytorch_lightning", "numpy", "pandas", "jax", "transformers"),
    *("pynvml", "psutil", "rich", "textual", "starlette", "uvicorn", "plotly", "pyarrow", "asyncio"),
)

IMPORT = "import phasescope"
STARTED = """
import phasescope
from phasescope import phase, start, stop
session = start()
with phase("step"):
    pass
"""
STOPPED = STARTED + "stop()\nsession.events()\nprint(session.summary(), file=sys.stderr)\n"
READ = STARTED + "stop()\nfrom phasescope import attach\nattach().records()\n"


def loaded_by(code: str) -> dict[str, Any]:
    """Return the modules and threads of a process that ran `code`."""
    told = "import json, threading\nprint(json.dumps([sorted(sys.modules), [t.name for t in threading.enumerate()]]))"
    modules, threads = json.loads(in_new_python(f"import sys\n{code}\n{told}"))
    return {"modules": modules, "threads": threads}


@pytest.mark.parametrize("code", [IMPORT, STARTED, STOPPED, READ], ids=["import", "start", "stop", "attach"])
def test_no_heavy_module_is_loaded(code: str) -> None:
    modules = set(loaded_by(code)["modules"])
    assert "phasescope" in modules
    assert modules.isdisjoint(HEAVY)


def test_import_alone_loads_nothing_else_of_ours_and_starts_no_thread() -> None:
    process = loaded_by(IMPORT)
    assert [name for name in process["modules"] if name.startswith("phasescope")] == ["phasescope"]
    assert process["threads"] == ["MainThread"]


def test_start_starts_the_sampler_and_no_other_thread() -> None:
    assert loaded_by(STARTED)["threads"] == ["MainThread", "phasescope-sampler"]
    assert loaded_by(STOPPED)["threads"] == ["MainThread"]


def test_import_has_no_effect_on_the_process() -> None:
    """No signal handler, hook, log handler, warning filter, environment variable or working directory is changed."""
    said = in_new_python(
        """
        import atexit, logging, os, signal, sys, threading, warnings

        def state():
            return {
                "signals": {s: signal.getsignal(s) for s in signal.valid_signals()},
                "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook),
                "logging": (logging.root.handlers[:], logging.root.level),
                "filters": warnings.filters[:],
                "environment": dict(os.environ),
                "directory": os.getcwd(),
                "profiler": (sys.getprofile(), sys.gettrace()),
            }

        before = state()
        import phasescope
        assert state() == before, "import"
        phasescope.start()
        with phasescope.phase("step"):
            pass
        assert state() == before, "start"
        phasescope.stop()
        assert state() == before, "stop"
        print("unchanged")
        """
    )
    assert said == "unchanged"


def test_a_heavy_module_that_the_training_has_imported_does_no_harm() -> None:
    said = in_new_python(
        """
        import numpy
        import phasescope
        with phasescope.start() as session, phasescope.phase("step", shape=numpy.zeros(3).shape):
            pass
        print(len([e for e in session.events() if e["event_type"] == "phase_exit"]))
        """
    )
    assert said == "1"


# --- the public names ------------------------------------------------------------------------------------------------


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each in the order of the alphabet."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_the_public_names_are_sorted_and_there_once() -> None:
    assert phasescope.__all__ == sorted(set(phasescope.__all__), key=order)


@pytest.mark.parametrize("name", phasescope.__all__)
def test_every_public_name_is_there_says_what_it_is_and_comes_from_here(name: str) -> None:
    thing = getattr(phasescope, name)
    assert getattr(phasescope, name) is thing
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert thing.__module__.startswith("phasescope")
        assert thing.__doc__


def test_nothing_else_is_public() -> None:
    said = in_new_python(
        """
        import types
        import phasescope
        for name in phasescope.__all__:
            getattr(phasescope, name)
        print(set(phasescope.__all__) ^ {n for n in dir(phasescope) if not n.startswith("_")})
        stray = [n for n, thing in vars(phasescope).items()
                 if not n.startswith("_") and n not in phasescope.__all__ and not isinstance(thing, types.ModuleType)]
        print(stray)
        """
    )
    # What `from __future__ import annotations` and the guard of the types leave in any module.
    assert said.splitlines() == ["{'__version__'}", "['annotations', 'TYPE_CHECKING']"]


def test_a_star_import_gives_the_public_names() -> None:
    names: dict[str, Any] = {}
    exec("from phasescope import *", names)
    assert set(names) - {"__builtins__"} == set(phasescope.__all__)


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'phasescope' has no attribute 'nonsense'"):
        _ = phasescope.nonsense  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        exec("from phasescope import nonsense")


def test_the_version_is_that_of_the_package() -> None:
    assert phasescope.__version__ == importlib.metadata.version("phasescope")
