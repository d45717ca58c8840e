"""torch, TensorFlow and JAX themselves, on this machine's processors, in one fresh process."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phasescope import validate_event
from support.fakes.processes import in_new_python
from support.waiting import CEILING_S

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "tensorflow", "jax")),
    reason="the script imports torch, TensorFlow and JAX",
)

MIB = 2**20
SCRIPT = Path(__file__).parent / "scripts" / "three_frameworks.py"
Seen = dict[str, Any]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What the script saw: it takes ten seconds, most of them imports."""
    folder = tmp_path_factory.mktemp("frameworks")
    environment = {**os.environ, "KERAS_HOME": str(folder / "keras"), "PHASESCOPE_DIR": str(folder / "rings")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=CEILING_S, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    found: Seen = json.loads(done.stdout)
    return found


def of(events: list[dict[str, Any]], event_type: str, backend: str) -> list[dict[str, Any]]:
    return [e for e in events if e["event_type"] == event_type and e["metadata"]["backend"] == backend]


def delta_of(events: list[dict[str, Any]], name: str) -> tuple[str, int]:
    """The backend that a phase spoke of, and its delta in MiB."""
    [leave] = [e for e in events if e["event_type"] == "phase_exit" and e["metadata"]["phase_scope"]["name"] == name]
    return leave["metadata"]["backend"], leave["metadata"]["phase_scope"]["allocated_delta_bytes"] // MIB


def test_looking_initialises_none_of_them(seen: Seen) -> None:
    assert seen["untouched"] == {"tensorflow": True, "jax": True, "torch": True}


def test_using_one_initialises_no_other(seen: Seen) -> None:
    assert seen["after torch"] == {"tensorflow": True, "jax": True, "torch": True}
    assert seen["after tensorflow"] == {"tensorflow": False, "jax": True, "torch": True}


@pytest.mark.parametrize("framework", ["torch", "tensorflow", "jax"])
def test_a_tensor_kept_for_one_phase_appears_in_its_delta_on_the_host(seen: Seen, framework: str) -> None:
    backend, delta = delta_of(seen["events"], framework)
    assert backend == "cpu"
    assert 190 <= delta <= 300


def test_tensorflows_own_allocator_is_sampled_beside_the_host_and_says_what_tensorflow_says(seen: Seen) -> None:
    samples = of(seen["events"], "sample", "tensorflow")
    assert [event["device_id"] for event in samples] == [-1] * len(samples)
    assert samples[0]["allocator_allocated_bytes"] == seen["tensorflow says"] >= 200 * MIB
    assert "allocator_reserved_bytes" in samples[0]["metadata"]["unavailable"]
    assert samples[-1]["allocator_allocated_bytes"] < 100 * MIB


def test_asked_for_by_name_phases_speak_of_tensorflows_allocator(seen: Seen) -> None:
    backend, delta = delta_of(seen["named"], "named")
    assert backend == "tensorflow"
    assert delta >= 200


def test_what_backends_wait_for_is_there_and_changes(seen: Seen) -> None:
    assert seen["torch's flag"] == [False, False]
    assert seen["awaited has changed"] == {"tensorflow": True, "jax": True}


def test_nothing_was_degraded_but_drivers_that_are_not_there(seen: Seen) -> None:
    told = [e["context"] for e in seen["events"] + seen["named"] if e["event_type"] == "collector_degraded"]
    assert [text for text in told if text.startswith(("torch", "cuda", "tensorflow", "jax", "cpu", "what "))] == []


def test_every_event_is_valid(seen: Seen) -> None:
    assert len(seen["events"]) > 20
    for event in seen["events"] + seen["named"]:
        validate_event(event)


def test_what_is_not_imported_costs_no_import() -> None:
    code = """
        import sys, phasescope
        from phasescope.testing import sample
        with phasescope.start() as session:
            with phasescope.phase("step"):
                sample(session)
        print([name for name in ("torch", "tensorflow", "jax", "psutil") if name in sys.modules])
    """
    assert in_new_python(code) == "[]"
