"""`phasescope explain` over real processes: it names the right cause of each, and none of the healthy one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.commands import explained_in
from support.waiting import CEILING_S

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="limits and workers as Linux has them"),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("torch", "tensorflow")),
        reason="the scripts train with torch and TensorFlow",
    ),
]

SCRIPT = Path(__file__).parent / "scripts" / "explained.py"
NAMES = (
    "torch_leak",
    "tensorflow_leak",
    "worker_leak",
    "limited",
    "growing_to_limit",
    "killed",
    "healthy",
    "full_buffer",
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], int]]:
    """Each script's explanation as data, and the exit code of the command. They run two at a time."""
    answers = {}
    for pair in (NAMES[0:2], NAMES[2:4], NAMES[4:6], NAMES[6:]):
        running = {name: started(name, tmp_path_factory.mktemp(name)) for name in pair}
        for name, (process, directory) in running.items():
            process.communicate(timeout=CEILING_S)
            answers[name] = explained_in(directory)
    return answers


def started(name: str, directory: Path) -> tuple[subprocess.Popen[bytes], Path]:
    environment = {**os.environ, "PHASESCOPE_DIR": str(directory / "rings"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(SCRIPT), name],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    return process, directory / "rings"


@pytest.mark.parametrize(
    ("name", "kind", "phases"),
    [
        ("torch_leak", "growth", None),
        ("tensorflow_leak", "growth", None),
        ("worker_leak", "workers_grow", []),
        ("limited", "limit", None),
        ("growing_to_limit", "growth", [["step", "log"]]),
        ("killed", "killed", None),
        ("healthy", "none", None),
        ("full_buffer", "none", None),
    ],
)
def test_the_cause_is_the_right_one(
    answers: dict[str, tuple[dict[str, Any], int]], name: str, kind: str, phases: list[list[str]] | None
) -> None:
    answer, exit_code = answers[name]
    assert answer["cause"]["kind"] == kind, answer["cause"]["text"]
    assert exit_code == (0 if kind == "none" else 4)
    if phases is not None:
        growing = next(growth for growth in answer["growth"] if growth["grows"])
        assert growing["phases"] == phases


def test_the_rate_is_about_right(answers: dict[str, tuple[dict[str, Any], int]]) -> None:
    answer, _ = answers["torch_leak"]
    growing = next(growth for growth in answer["growth"] if growth["grows"])
    assert growing["device"] == "host"
    assert growing["bytes_per_step"] == pytest.approx(2**20, rel=0.3)


def test_the_limit_and_what_was_asked_for_are_in_the_figures(answers: dict[str, tuple[dict[str, Any], int]]) -> None:
    answer, _ = answers["limited"]
    assert answer["cause"]["figures"]["address_space_limit_bytes"] == 3 << 30
    assert answer["cause"]["figures"]["requested_bytes"] == 16 << 30
    assert answer["ending"]["kind"] == "host_out_of_memory"


def test_growing_until_the_end_is_still_an_end_for_want_of_memory(
    answers: dict[str, tuple[dict[str, Any], int]],
) -> None:
    answer, _ = answers["growing_to_limit"]
    assert answer["ending"]["kind"] == "host_out_of_memory"
    assert answer["ending"]["path"] == ["step", "log"]
