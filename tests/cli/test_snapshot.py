"""`phasescope snapshot`: of a training in another process, and of those that cannot answer."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from phasescope import _native
from support.commands import Training, needs_files, outcome, second_process
from support.fakes.made_rings import made_ring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_files


@pytest.fixture(scope="module")
def rings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("module") / "rings"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture(scope="module")
def shared(rings: Path) -> Iterator[Training]:
    """A training that stands in epoch/validation; the tests of this module only look at it."""
    training = Training(rings)
    yield training
    training.close()


def ask(rings: Path, *arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    from phasescope import cli

    exit_code = cli.main(["snapshot", *arguments, "--dir", str(rings)])
    return exit_code, *capsys.readouterr()


def test_it_prints_what_the_threads_do_and_what_is_live(
    shared: Training, rings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code, out, err = ask(rings, str(shared.pid), "--wait", "0.1", capsys=capsys)
    assert exit_code == 0
    lines = out.splitlines()
    assert lines[0].startswith(f"pid {shared.pid}: ")
    assert "  MainThread, in epoch/validation" in lines
    assert any("<module> (<string>:" in line for line in lines)
    assert any(line.startswith("objects: ") for line in lines)
    assert "tensors: not counted: " in out
    assert "no phase ended" in out or not _native.has_phases
    assert "lines that allocated: not known: tracemalloc does not run" in out
    assert sys.platform != "linux" or "resident" in out
    assert "of the training's processor time" in err
    assert [path.suffix for path in rings.iterdir()] == [".ring"]


def test_it_writes_one_file_and_as_json_the_same(
    shared: Training, rings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "now.json"
    exit_code, out, _ = ask(rings, "-o", str(file), "--wait", "0", capsys=capsys)
    assert (exit_code, out) == (0, f"{file}\n")
    saved = json.loads(file.read_text())
    exit_code, out, _ = ask(rings, "--json", "--wait", "0", capsys=capsys)
    printed = json.loads(out)
    assert saved.keys() == printed.keys()
    assert (saved["kind"], saved["schema_version"], saved["session"]["pid"]) == ("snapshot", 1, shared.pid)
    assert [path.name for path in tmp_path.iterdir()] == ["now.json"]
    exit_code, _, err = ask(rings, "-o", str(tmp_path / "none" / "x.json"), "--wait", "0", capsys=capsys)
    assert (exit_code, "No such file" in err) == (1, True)


def test_an_asker_that_is_killed_leaves_nothing_and_the_next_is_answered(
    shared: Training, rings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asker = second_process("snapshot", str(shared.pid), "--dir", str(rings), "--wait", "60")
    asker.kill()
    outcome(asker)
    assert ask(rings, str(shared.pid), "--wait", "0", capsys=capsys)[0] == 0
    assert [path.suffix for path in rings.iterdir()] == [".ring"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says that it is stopped")
def test_a_stopped_training_does_not_answer_and_it_is_said(
    shared: Training, rings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.kill(shared.pid, signal.SIGSTOP)
    try:
        exit_code, out, err = ask(rings, str(shared.pid), "--timeout", "0.2", capsys=capsys)
    finally:
        os.kill(shared.pid, signal.SIGCONT)
    assert (exit_code, out) == (6, "")
    assert f"pid {shared.pid} does not answer: it is stopped (SIGSTOP" in err
    assert [path.suffix for path in rings.iterdir()] == [".ring"]


def test_one_that_is_over_or_cannot_be_asked_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with made_ring(tmp_path) as ring:
        ring.event("start")
        exit_code, _, err = ask(tmp_path, str(ring.path), capsys=capsys)
        assert (exit_code, "takes no requests" in err) == (6, True), err
        ring.die()
        exit_code, _, err = ask(tmp_path, str(ring.path), capsys=capsys)
        assert (exit_code, "its session is over (dead)" in err) == (6, True), err
