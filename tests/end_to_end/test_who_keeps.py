"""Real trainings that keep objects: the censuses name the keeper and the line, and `explain` says so."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phasescope import _native, attach
from phasescope.analysis.diagnosis.verdict import verdict
from support.waiting import CEILING_S

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux counts it"),
    pytest.mark.skipif(not _native.has_phases, reason="the compiled core counts"),
]
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")
SCRIPT = Path(__file__).parent / "scripts" / "keeping_objects.py"


def ring_of(name: str, directory: Path) -> Path:
    """The ring of that training, which has ended."""
    environment = {**os.environ, "PHASESCOPE_DIR": str(directory), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(SCRIPT), name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=CEILING_S, check=False)
    own = [] if name.startswith("tensorflow") else done.stderr.splitlines()  # TensorFlow tells the time, and of tracing
    assert (done.returncode, own) == (0, []), done.stderr
    (ring,) = directory.glob("*.ring")
    return ring


def censuses(ring: Path) -> list[dict[str, Any]]:
    with attach(ring) as reader:
        assert reader.constants
        return [event["metadata"]["census"] for event in reader.events() if event["event_type"] == "census"]


def line_with(text: str) -> int:
    """The number of the first line of the script with this text."""
    return next(at for at, line in enumerate(SCRIPT.read_text().splitlines(), 1) if text in line)


def keepers(census: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What grew, by the keeper's name, the first of each."""
    found: dict[str, dict[str, Any]] = {}
    for grown in census["grown"]:
        if "keeper" in grown:
            found.setdefault(grown["keeper"]["expression"], grown)
    return found


@needs_torch
def test_each_keeper_is_named_with_its_line(tmp_path: Path) -> None:
    taken = censuses(ring_of("all_at_once", tmp_path))
    assert [census["step"] for census in taken] == [8, 16, 32, 64]
    assert taken[0]["grown"] == taken[1]["grown"] == []
    found = keepers(taken[-1])
    lines = {
        "losses": "losses.append(loss)",
        "errors": "errors.append(error)",
        'recorder.seen["first"]': "setdefault(name, []).append",
        "metric.predictions": "predictions.append(predictions)",
        "logits": "logits += [outputs.detach()]",
        "Metric.curves": "metric.curves[step] = ",
        "encoding": "@functools.cache",
        "HISTORY": "HISTORY.append(",
        "ARRAYS": "ARRAYS.append(batch",
    }
    for name, text in lines.items():
        keeper = found[name]["keeper"]
        assert (keeper["line_file"], keeper["line"]) == (SCRIPT.name, line_with(text)), name
        assert found[name]["per_step"] == pytest.approx(1, rel=0.3) or name in ("losses", "logits"), name
        assert keeper.get("kept", found[name]["count"]) in range(60, 72), name
    assert found["losses"]["graph"]
    assert found["losses"]["graph_saved_bytes"] > 128 * 64 * 4  # what ReLU keeps, and more
    assert "through" not in found["losses"]["keeper"]  # what its graph saved is reported with it, not once more
    assert found["errors"]["keeper"]["through"]["function"] == "failing"
    assert found["errors"]["keeper"]["through"]["variable"] == "large"
    assert (found["HISTORY"]["of"], found["ARRAYS"]["dtype"]) == ("dict", "float64")
    assert found["ARRAYS"]["bytes"] == pytest.approx(found["ARRAYS"]["count"] * 128 * 32 * 8, rel=0.05)


@needs_torch
def test_what_becomes_larger_is_named_though_there_is_only_one_of_it(tmp_path: Path) -> None:
    ring = ring_of("larger", tmp_path)
    found = {name: grown for name, grown in keepers(censuses(ring)[-1]).items() if grown["kind"] == "larger"}
    each = {
        "everything": ("Tensor", 2**19, "everything = torch.cat"),
        'table["embeddings"]': ("Tensor", 2**17, 'table["embeddings"] = torch.cat'),
        "results.joined": ("ndarray", 2**18, "self.joined = np.concatenate"),
        "log": ("BytesIO", 2**16, "log.write("),
        "report": ("StringIO", 2**16, "report.write("),
    }
    assert found.keys() == each.keys()
    for name, (of, per_step, text) in each.items():
        assert (found[name]["of"], found[name]["keeper"]["line"]) == (of, line_with(text)), name
        assert found[name]["per_step"] == pytest.approx(per_step, rel=0.3), name
    with attach(ring) as reader:
        told = str(reader.explain())
    assert re.search(rf"tensor of float32\[\d+, 4096\] `everything` in {SCRIPT.name}:\d+, which becomes larger", told)
    assert "outside of Python" not in told


@needs_torch
@pytest.mark.parametrize(
    ("name", "expression"), [("summed_up", "total"), ("never_detached", "state"), ("create_graph", "layer.weight.grad")]
)
def test_a_graph_that_becomes_longer_is_found_though_no_tensors_become_more(
    name: str, expression: str, tmp_path: Path
) -> None:
    grown = censuses(ring_of(name, tmp_path))[-1]["grown"][0]
    assert (grown["kind"], grown["keeper"]["expression"]) == ("graph", expression)
    assert grown["per_step"] >= 3
    lines = {"summed_up": "total += layer", "never_detached": "state = forward(state)"}
    assert name not in lines or grown["keeper"]["line"] == line_with(lines[name])


@needs_torch
def test_what_fills_and_stays_or_is_collected_in_waves_is_not_called_growing(tmp_path: Path) -> None:
    taken = censuses(ring_of("harmless", tmp_path))
    assert taken[-1]["step"] == 128
    assert keepers(taken[-1]) == {}


@needs_torch
def test_explain_and_the_verdict_name_the_list_of_losses(tmp_path: Path) -> None:
    ring = ring_of("losses_alone", tmp_path)
    at = f"{SCRIPT.name}:{line_with('losses.append(loss)  # alone')}"
    with attach(ring) as reader:
        answer = reader.explain()
    text = str(answer)
    assert answer.cause.kind == "growth", text
    assert "tensors of float32[] that carry their graph" in text
    assert f"kept by list `losses` in {at}" in text
    assert any("detach" in line and at in line for line in answer.advice), text
    assert f"kept by list `losses` in {at}" in verdict(answer).text
    told = json.loads(json.dumps(answer.to_dict()))["grown"]
    assert any(grown["keeper"] and grown["keeper"]["expression"] == "losses" for grown in told)


def test_memory_of_a_c_library_is_said_to_be_outside_of_python(tmp_path: Path) -> None:
    with attach(ring_of("outside", tmp_path)) as reader:
        text = str(reader.explain())
    assert "outside of Python's objects" in text
    assert "kept by" not in text


def test_arrays_in_a_global_account_for_the_growth(tmp_path: Path) -> None:
    with attach(ring_of("arrays_alone", tmp_path)) as reader:
        answer = reader.explain()
    assert f"kept by list `ARRAYS` in {SCRIPT.name}:{line_with('ARRAYS.append(np.ones')}" in str(answer)
    assert "numpy arrays of float64[1, 131072]" in str(answer)


@pytest.mark.parametrize(
    ("library", "noun", "function", "done"),
    [
        ("jax", "JAX arrays", "JAX function", "compiled"),
        ("tensorflow", "tensors", "tf.function", "traced"),
    ],
)
def test_arrays_of_other_libraries_and_what_they_compile_again_are_named_with_their_lines(
    library: str, noun: str, function: str, done: str, tmp_path: Path
) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed here")
    ring = ring_of(f"{library}_keeps", tmp_path)
    (found,) = [grown for grown in censuses(ring)[-1]["grown"] if grown["kind"] == "versions"]
    assert found["library"] == library
    assert found["per_step"] == pytest.approx(1, rel=0.1)
    with attach(ring) as reader:
        answer = reader.explain()
    text = str(answer)
    assert f"{noun} of float32[256, 256]" in text
    assert f"kept by list `kept` in {SCRIPT.name}:{line_with(f'# of {library}')}" in text
    made = [at for at, line in enumerate(SCRIPT.read_text().splitlines(), 1) if "def scaled" in line]
    at = f"{SCRIPT.name}:{made[library == 'tensorflow']}"
    assert f"versions of {function} `scaled` in {at}, which is {done} again at each step" in text
    assert any(line.startswith(f"{at}: ") and "`scaled`" in line for line in answer.advice)
    assert "outside of Python's objects" not in text


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed here")
def test_a_function_that_was_compiled_for_a_few_shapes_is_not_called_growing(tmp_path: Path) -> None:
    taken = censuses(ring_of("compiles_at_first", tmp_path))
    assert taken[-1]["step"] == 128
    assert [grown for census in taken for grown in census["grown"] if grown["kind"] == "versions"] == []
