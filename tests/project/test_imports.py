"""What `import phasescope` brings with it, and what it gives out. Each import happens in a fresh process."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

import phasescope
from phasescope import _native
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


# --- the names that a training needs, and what waits for start() -----------------------------------------------------

NAMES = "from phasescope import phase, start, stop"
LOADED_WITH_NAMES = {
    "phasescope",
    "phasescope._fork_hooks",
    "phasescope._native",
    "phasescope._native._core",
    "phasescope.capture",
    "phasescope.capture.attributes",
    "phasescope.capture.compiled",
    "phasescope.capture.gc_guard",
    "phasescope.capture.phase",
    "phasescope.capture.phase_context",
    "phasescope.capture.phase_paths",
    "phasescope.capture.running",
    "phasescope.capture.scope",
    "phasescope.capture.thread_contexts",
    "phasescope.wire",
    "phasescope.wire.encoding",
}
SLOW_TO_LOAD = {
    *("contextlib", "ctypes", "dataclasses", "datetime", "decimal", "email", "enum", "importlib.metadata", "inspect"),
    *("json", "logging", "msgspec", "pathlib", "platform", "re", "socket", "subprocess", "sysconfig", "tempfile"),
    *("traceback", "typing", "typing_extensions", "urllib", "uuid", "zipfile"),
}
PACKAGES = sorted({str(Path(str(module.__file__)).parents[1]) for module in (phasescope, msgspec)})
WITHOUT_SITE = f"import sys\nsys.path[:0] = {PACKAGES!r}\n"
"""For `python -S`: what an installation's `.pth` files load at every start is not there."""

needs_core = pytest.mark.skipif(not _native.has_phases, reason="without the compiled core msgspec encodes")


@needs_core
def test_the_names_of_a_training_load_a_few_modules_and_nothing_slow() -> None:
    code = f"{WITHOUT_SITE}before = set(sys.modules)\n{NAMES}\nprint(*sorted(set(sys.modules) - before))"
    loaded = set(in_new_python(code, "-S").split())
    assert {name for name in loaded if name.partition(".")[0] == "phasescope"} == LOADED_WITH_NAMES
    assert not loaded & SLOW_TO_LOAD


@needs_core
def test_a_session_that_is_not_read_needs_no_msgspec() -> None:
    code = f"{WITHOUT_SITE}{STARTED}stop()\nprint(*sorted(sys.modules))"
    loaded = set(in_new_python(code, "-S").split())
    assert "phasescope.capture.session" in loaded
    assert not loaded & {"msgspec", "typing_extensions", "inspect", "importlib.metadata", "email", "socket"}


@pytest.mark.parametrize("pure", ["0", "1"])
def test_nothing_is_imported_once_a_session_runs(pure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory may be running out then, or the interpreter shutting down."""
    monkeypatch.setenv(_native.SWITCH, pure)
    said = in_new_python(
        """
        import sys, threading
        from phasescope import phase, start, stop

        def attempt(error):
            try:
                with phase("outer", n=1), phase("inner"):
                    raise error
            except BaseException:
                pass

        def of_a_library():
            exec(compile("raise MemoryError", "/lib/site-packages/library.py", "exec"))

        def out_of_order():
            outer, inner = phase("outer"), phase("inner")
            outer.__enter__()
            inner.__enter__()
            outer.__exit__(None, None, None)
            inner.__exit__(None, None, None)
            left = phase("left by another")
            left.__enter__()
            thread = threading.Thread(target=left.__exit__, args=(None, None, None))
            thread.start()
            thread.join()

        session = start()
        before = set(sys.modules)
        for error in (
            MemoryError(),
            MemoryError("Unable to allocate 3.00 GiB for an array"),
            OSError(12, "Cannot allocate memory"),
            RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 8.00 GiB of "
                         "which 3.00 MiB is free. Of the allocated memory 1.00 GiB is allocated by PyTorch"),
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 16 bytes"),
            ValueError("another"),
            KeyboardInterrupt(),
        ):
            attempt(error)
        try:
            with phase("library"):
                of_a_library()
        except MemoryError:
            pass
        out_of_order()
        with phase("surrogates", text="\\ud800"), phase("long", **{f"a{n}": "x" * 199 for n in range(16)}):
            pass
        stop()
        print(sorted(set(sys.modules) - before))
        print(sum(event["event_type"] == "error" for event in session.events()))
        """
    )
    assert said.splitlines() == ["[]", "6"]


@pytest.mark.parametrize("pure", ["0", "1"])
def test_whatever_a_signal_handler_does_while_start_loads_its_modules(
    pure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may use phases, ask for the session, stop it, or raise: then `start()` can be called again."""
    monkeypatch.setenv(_native.SWITCH, pure)
    said = in_new_python(
        """
        import sys
        import phasescope
        from phasescope import phase, start, stop

        class Handler:
            seen = set()

            def find_spec(self, name, path=None, target=None):
                if name.startswith("phasescope.") and name not in self.seen:
                    self.seen.add(name)
                    with phase("in the handler"):
                        assert phasescope.current() is None
                        stop()
                    raise KeyboardInterrupt

        sys.meta_path.insert(0, Handler())
        session = None
        while session is None:
            try:
                session = start()
            except KeyboardInterrupt:
                pass
        sys.meta_path.pop(0)
        with phase("step"):
            pass
        stop()
        print(len(Handler.seen) > 40, session.dropped, session.irregular)
        print([e["event_type"] for e in session.events() if e["event_type"].startswith("phase")])
        """
    )
    assert said.splitlines() == ["True 0 0", "['phase_enter', 'phase_exit']"]


def test_threads_that_start_a_session_at_once_get_the_same_one() -> None:
    said = in_new_python(
        """
        import threading
        from phasescope import attach, phase, start, stop

        together, sessions = threading.Barrier(8), []

        def begin():
            together.wait()
            with phase("before"):
                session = start()
            attach(session.path).latest()
            sessions.append(session)

        threads = [threading.Thread(target=begin) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stop()
        print(len(sessions), len(set(sessions)))
        """
    )
    assert said == "8 1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_waits_while_another_thread_loads_what_start_needs() -> None:
    """In the child that thread is gone, and would hold the locks of its half-loaded modules for ever."""
    said = in_new_python(
        """
        import os, signal, sys, threading
        from phasescope import phase, start, stop

        is_loading, goes_on = threading.Event(), threading.Event()

        class Stalls:
            def find_spec(self, name, path=None, target=None):
                if name == "phasescope.capture.session":
                    is_loading.set()
                    goes_on.wait()

        sys.meta_path.insert(0, Stalls())
        starter = threading.Thread(target=start)
        starter.start()
        is_loading.wait()
        threading.Timer(0.05, goes_on.set).start()
        child = os.fork()
        if child == 0:
            signal.alarm(600)
            goes_on.set()
            with start(), phase("in the child"):
                pass
            os._exit(0)
        starter.join()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        stop()
        """,
        "-Wignore",
    )
    assert said == "0"


def test_a_program_may_go_elsewhere_between_import_and_start() -> None:
    """Its path may be relative: modules are found by where they were first."""
    code = f"""
import os, sys
os.chdir({str(Path(PACKAGES[0]).parent)!r})
sys.path[:0] = [os.path.relpath(path) for path in {PACKAGES!r}]
{NAMES}
os.chdir("/")
with start() as session, phase("step"):
    pass
print(session.events()[-1]["event_type"])
"""
    assert in_new_python(code, "-S") == "stop"


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
