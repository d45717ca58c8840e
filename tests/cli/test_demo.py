"""`phasescope demo`: it trains, is watched, and sums up."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phasescope.cli import (
    demo,
)
from support.commands import SOURCE, needs_files, outcome, second_process


@needs_files
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the demo trains a PyTorch model")
def test_demo_trains_is_watched_and_sums_up(directory: Path) -> None:
    exit_code, out, err = outcome(second_process("demo", "--steps", "60", "--dir", str(directory)))
    assert (exit_code, err) == (0, "")
    assert "meanwhile, in process " in out
    assert out.count("  │ ") >= 2
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.startswith(("epoch ", "  "))}
    assert {rows[name][1] for name in ("data", "forward", "backward", "optimizer")} == {"60"}
    assert "memory does not grow\n" in out or "whether memory grows is not known" in out, "the verdict, as run has it"
    assert "\nA training of your own needs no change:\n\n  phasescope run train.py\n" in out
    for command in ("top", "web", "explain", "summary"):
        assert f"\n  phasescope {command} " in out


@needs_files
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the demo trains a PyTorch model")
def test_demo_can_show_a_leak_and_what_explain_says_of_it(directory: Path) -> None:
    exit_code, out, err = outcome(second_process("demo", "--leak", "--steps", "300", "--dir", str(directory)))
    assert (exit_code, err) == (0, "")
    before, _, answer = out.partition("\nphasescope explain ")
    assert "memory on the host grew: " in before
    assert "memory on the host grows" in answer
    assert not sys.platform.startswith("linux") or "It shows in epoch/forward" in answer
    assert "what to try first" in answer


def test_demo_without_torch_names_the_pip_line() -> None:
    """In an interpreter that sees no installed packages."""
    command = [sys.executable, "-S", "-m", "phasescope", "demo"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr == 'phasescope: the demo needs PyTorch: pip install "phasescope[demo]"\n'


@pytest.mark.parametrize(
    ("called", "on_path", "name"),
    [
        (".venv/bin/phasescope", None, ".venv/bin/phasescope"),
        (".venv/bin/phasescope", "/usr/bin/phasescope", "phasescope"),
        ("/x/phasescope/__main__.py", None, "phasescope"),
    ],
)
def test_the_demo_names_a_command_that_is_found(
    called: str, on_path: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [called, "demo"])
    monkeypatch.setattr("phasescope.cli.demo.shutil.which", lambda _: on_path)
    assert demo._command_name() == str(Path(name))


def test_the_demo_learns() -> None:
    pytest.importorskip("torch")
    training = demo._Training()
    assert list(training.run(30, None))[-1] == 1.0
    assert training.steps == 30
    assert training.last_loss < training.first_loss
