"""What is advised against memory that grows goes by what is seen: what libraries count, and which are loaded."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from phasescope.analysis.diagnosis.evidence import evidence
from phasescope.analysis.diagnosis.explanation import Explanation, explain
from phasescope.backends.library_counters import Libraries
from support.commands import explained_in
from support.events import MIB, MadeSession
from support.waiting import CEILING_S

SCRIPT = Path(__file__).parent / "scripts" / "keeping.py"
GIB = 1024 * MIB
KEPT = "look in all of the loop, in its phases and between them, for objects kept from step to step: "


def leaking(
    backend: str = "cpu", device_id: int = -1, counted: int = 0, phase: str = "step", **told: Any
) -> Explanation:
    """200 steps that keep 2 MiB each, and samples of the host that tell this. `counted` is by how much what is counted
    rises in each step."""
    session = MadeSession(backend=backend, device_id=device_id)
    session.allocated = GIB
    session.event("start")
    for number in range(200):
        session.run(phase, ms=100, change=2 * MIB)
        counts = {key: value + counted * number if type(value) is int else value for key, value in told.items()}
        resident = session.allocated if backend == "cpu" else GIB
        session.event("sample", backend="cpu", device_id=-1, metadata=counts, allocator_allocated_bytes=resident)
    session.event("stop")
    answer = explain(evidence(session.events))
    assert answer.cause.kind == "growth", answer.cause.text
    return answer


def test_of_nothing_seen_the_possible_is_listed_and_called_unknown() -> None:
    first, numbers, *_ = leaking().advice
    possible = (
        "losses, outputs and hidden states with their graphs, batches, cached results, what hooks store, metrics'"
    )
    assert first.startswith(KEPT + possible)
    assert first.endswith("; which of these it is is not known")
    assert "loss.item()" in numbers  # on the host as well


def test_of_a_predict_in_a_loop_it_is_what_keras_makes_anew_that_comes_first() -> None:
    first, *_ = leaking(libraries=["keras", "tensorflow"], phase="predict").advice
    assert first.startswith("call the model itself in a loop, `model(batch, training=False)`")
    assert "model itself" not in "".join(leaking(libraries=["torch"], phase="predict").advice)
    assert "model itself" not in "".join(leaking(libraries=["keras", "tensorflow"]).advice)


def test_jax_is_told_how_to_see_and_to_bound_what_it_compiles() -> None:
    advice = "\n".join(leaking(libraries=["jax"]).advice)
    assert "JAX_LOG_COMPILES=1" in advice
    assert "jax.clear_caches()" in advice
    assert "JAX" not in "\n".join(leaking(libraries=["torch"]).advice)


def test_torch_is_told_what_no_object_of_pythons_shows() -> None:
    """Of its own: a Function's output on its ctx, which no collector frees, and kernels for each new shape."""
    on_host, on_device = leaking(libraries=["torch"]).advice[0], leaking("cuda", 0, libraries=["torch"]).advice[0]
    assert "ctx.save_for_backward" in on_host
    assert "ctx.save_for_backward" in on_device
    assert "oneDNN" in on_host
    assert "oneDNN" not in on_device
    assert not any("oneDNN" in line or "ctx" in line for line in leaking(libraries=["jax"]).advice)


def test_what_is_not_loaded_is_not_advised() -> None:
    advice = "\n".join(leaking(libraries=[]).advice)
    assert "tensor" not in advice
    assert "metrics" not in advice
    assert "compiled" not in advice
    assert "figures" not in advice
    assert "float(loss)" in leaking(libraries=["jax"]).advice[1]
    assert "functions compiled or traced again" in leaking(libraries=["jax"]).advice[0]


def test_tracemalloc_is_not_said_to_see_tensors() -> None:
    (found,) = [line for line in leaking(libraries=["torch"]).advice if "tracemalloc" in line]
    assert "but no tensors" in found
    assert not any("tracemalloc" in line for line in leaking("cuda", 0, libraries=["torch"]).advice)


def test_a_setting_that_is_in_force_is_not_advised_again() -> None:
    assert any("MALLOC_MMAP_THRESHOLD_" in line for line in leaking(libraries=["torch"]).advice)
    set_already = leaking(libraries=["torch"], mmap_threshold_bytes=65536)
    assert not any("MALLOC_MMAP_THRESHOLD_" in line for line in set_already.advice)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("open_figures", "matplotlib has 219 figures open"),
        ("traced_functions", "TensorFlow has traced 219 functions"),
        ("compiled_graphs", "torch has compiled 219 graphs"),
    ],
)
def test_what_is_counted_and_rises_comes_first(name: str, said: str) -> None:
    told: dict[str, Any] = {name: 20}
    rising, still = leaking(counted=1, **told), leaking(counted=0, **told)
    assert rising.advice[0].startswith(said)
    assert rising.advice[1] == "look for where that comes from in all of the loop, in its phases and between them"
    assert not any(said[:15] in line for line in still.advice)


def test_small_objects_are_told_by_their_number() -> None:
    assert "small Python objects" in leaking(counted=20_000, python_blocks=10**6).advice[0]
    assert "small Python objects" not in leaking(counted=100, python_blocks=10**6).advice[0]


@pytest.mark.parametrize(
    "told",
    [
        {"libraries": "torch"},
        {"libraries": [1, None, "x" * 999]},
        {"open_figures": -1, "traced_functions": 1.5, "python_blocks": 2**80, "mmap_threshold_bytes": "64k"},
    ],
)
def test_odd_figures_are_no_trouble(told: dict[str, Any]) -> None:
    assert leaking(**told).advice


def kept(name: str, directory: Path) -> list[str]:
    """What is advised of the session that this training left."""
    environment = {**os.environ, "PHASESCOPE_DIR": str(directory), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("MALLOC_MMAP_THRESHOLD_", None)
    command = [sys.executable, "-W", "ignore", str(SCRIPT), name]
    subprocess.run(command, env=environment, capture_output=True, timeout=CEILING_S, check=True)
    answer, _ = explained_in(directory)
    assert answer["cause"]["kind"] == "growth", answer["cause"]
    advice: list[str] = answer["advice"]
    return advice


linux = pytest.mark.skipif(sys.platform != "linux", reason="the host's memory as Linux tells it")


@linux
def test_a_function_that_is_traced_anew_in_every_step(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    advice = kept("traced", tmp_path)
    assert advice[0].startswith("TensorFlow has traced 20")
    assert not any("losses" in line for line in advice)


@linux
def test_small_objects_in_a_list(tmp_path: Path) -> None:
    assert "small Python objects" in kept("objects", tmp_path)[0]


@linux
def test_tensors_in_a_list(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    advice = kept("tensors", tmp_path)
    assert advice[0].startswith(KEPT + "losses, outputs and hidden states with their graphs")
    assert "loss.item()" in advice[1]
    assert "but no tensors" in advice[2]


@linux
@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not among the requirements")
def test_figures_that_stay_open(tmp_path: Path) -> None:
    found = re.match(r"matplotlib has (\d+) figures open", kept("figures", tmp_path)[0])
    assert found is not None
    assert 100 < int(found[1]) <= 200, "they are counted once a second"


def test_libraries_are_asked_for_what_they_count() -> None:
    modules = {
        "torch": SimpleNamespace(),
        "pytorch_lightning": SimpleNamespace(),
        "matplotlib.pyplot": SimpleNamespace(get_fignums=lambda: [1, 2, 5]),
        "torch._dynamo.utils": SimpleNamespace(counters={"stats": {"unique_graphs": 4}}),
        "tensorflow.python.eager.context": SimpleNamespace(context_safe=lambda: None),
    }
    found = Libraries(modules).read()
    blocks = found.pop("python_blocks", 1)
    assert blocks > 0
    assert found == {"libraries": ["torch", "lightning", "matplotlib"], "open_figures": 3, "compiled_graphs": 4}


def _fails() -> Any:
    raise RuntimeError("changed in another thread")


def test_a_library_that_does_not_answer_is_left_out() -> None:
    modules = {
        "matplotlib.pyplot": SimpleNamespace(get_fignums=_fails),
        "torch._dynamo.utils": SimpleNamespace(),
        "tensorflow.python.eager.context": SimpleNamespace(context_safe=_fails),
    }
    assert Libraries(modules).read().keys() - {"python_blocks"} == {"libraries"}


def test_it_takes_a_thousandth_of_the_time() -> None:
    times = iter([0, 5, 4_000, 5_006, 5_011])
    spent = iter([100, 105, 200, 205])
    libraries = Libraries({}, monotonic_ns=lambda: next(times), spent_ns=lambda: next(spent))
    assert libraries.read()
    assert libraries.read() == {}
    assert libraries.read()


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [
        ("MALLOC_MMAP_THRESHOLD_", "65536", 65536),
        ("GLIBC_TUNABLES", "glibc.malloc.check=1:glibc.malloc.mmap_threshold=0x20000:glibc.x=1", 131072),
        ("MALLOC_MMAP_THRESHOLD_", "64k", None),
    ],
)
def test_a_threshold_of_glibcs_is_known(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, known: int | None
) -> None:
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert "mmap_threshold_bytes" not in Libraries({}).read()
    monkeypatch.setenv(name, value)
    assert Libraries({}).read().get("mmap_threshold_bytes") == known


def test_torch_itself_counts_what_it_compiles() -> None:
    torch = pytest.importorskip("torch")
    utils = pytest.importorskip("torch._dynamo.utils")
    torch._dynamo.reset()
    utils.counters.clear()
    function = torch.compile(lambda x: x + 1, backend="eager", dynamic=False)
    for size in (2, 3):
        function(torch.ones(size))
    assert Libraries().read()["compiled_graphs"] == utils.counters["stats"]["unique_graphs"] == 2
    utils.counters.clear()
    torch._dynamo.reset()
