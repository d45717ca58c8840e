"""The cost of a phase on each backend: on the fakes of the tests, which answer at once, so it is Python's share.

But for torch's CUDA: there a stand-in in C makes each answer afresh, as torch's binding does.
"""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Subject, in_fresh_process, interleave, scaled, scratch_directory, series_from
from benchmarks.report import Result, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

PHASE = "with phase('forward'): pass"
MUST_US = {"cuda": 25.0}
"""For torch's CUDA the bound is on Python and C together; of the C part only torch's lock is missing here."""
PRIVATE_POOLS = 50
"""Of CUDA graphs. torch lists each of them in every answer."""

TESTS = Path(__file__).resolve().parent.parent / "tests"


def run(rounds: int) -> Result:
    """Return the rows about backends, each measured in a process of its own: the fakes take the frameworks' places."""
    rows = []
    for name in ("cpu", "cuda", "rocm", "xpu", "mps", "tensorflow", "jax"):
        measured = series_from(in_fresh_process("benchmarks.backends", "blocks", name, rounds))
        for variant, series in measured.items():
            must = MUST_US.get(name) if variant == "plain" else None
            what = f"`{name}`" + ("" if variant == "plain" else f", {variant}")
            rows.append(Row(what, scaled(series, 1e-3, "µs")._replace(name=what), must))
    return Result(rows)


def blocks(name: str, rounds: int) -> dict[str, Any]:
    """In a fresh process, measure a phase on one backend in ns, without and with exact peaks, if it has them."""
    variants: dict[str, dict[str, Any]] = {"plain": {}}
    if name != "jax":
        variants["with exact peaks"] = {"peaks": True}
    if name in ("cuda", "rocm"):
        variants["with device time"] = {"device_time": True}
    if name == "cuda":
        pools = {"private_pools": PRIVATE_POOLS}
        variants[f"with {PRIVATE_POOLS} private pools"] = pools
        variants[f"with {PRIVATE_POOLS} private pools and exact peaks"] = {**pools, "peaks": True}
    subjects = [
        Subject(variant, PHASE, 3000, partial(_session, name, **options)) for variant, options in variants.items()
    ]
    return dict(interleave(subjects, rounds))


@contextlib.contextmanager
def _session(name: str, *, private_pools: int = 0, **options: Any) -> Iterator[dict[str, Any]]:
    import phasescope
    from phasescope.backends import BACKENDS
    from phasescope.capture import backend_selection

    with contextlib.ExitStack() as stack:
        if name != "cpu":
            sys.path.insert(0, str(TESTS))
            import pytest

            from support.fakes import vendors

            monkeypatch = pytest.MonkeyPatch()
            stack.callback(monkeypatch.undo)
            monkeypatch.setattr(backend_selection, "DEVICE_SOURCES", {})  # this machine's drivers know no such device
            vendors.install(name, monkeypatch)
        directory = stack.enter_context(scratch_directory())
        if name == "cuda":
            _answer_as_torch_does(Path(directory), private_pools)
        # As an object: by its name a framework must be installed, and the fake is not a package.
        backend = backend_selection.load(BACKENDS[name])
        backend.asked_for = True
        session = stack.enter_context(phasescope.start(backends=[backend], directory=directory, **options))
        with phasescope.phase("warm"):
            pass
        measured = session.events(last=1)[0]["collector"]
        if measured != f"phasescope.{name}":
            raise RuntimeError(f"phases speak of {measured}")
        yield {"phase": phasescope.phase}


def _answer_as_torch_does(directory: Path, private_pools: int) -> None:
    """Let the fake make its statistics afresh at each call. Raises FileNotFoundError if there is no gcc."""
    from support import built

    source = TESTS / "support" / "fakes" / "torch_statistics.c"
    make = built.load(built.build(source, directory)).memory_stats
    vars(sys.modules["torch._C"])["_cuda_memoryStats"] = lambda _device: make(2**30, 2**31, private_pools)
