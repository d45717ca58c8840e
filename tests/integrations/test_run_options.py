"""`phasescope run`: the options of a session, what is said at its end, and what is mistyped and so leaves nothing."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope.analysis.diagnosis.evidence import evidence
from phasescope.analysis.diagnosis.explanation import explain
from phasescope.capture.sent_run import OPTIONS, Run
from phasescope.cli import run as run_command
from support.commands import python
from support.recordings import steps

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from pathlib import Path

SCRIPT = "import phasescope\nwith phasescope.phase('step'): pass\n"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "script.py").write_text(SCRIPT)
    (tmp_path / "work" / "package").mkdir()
    (tmp_path / "work" / "package" / "__init__.py").write_text("print('a package')\n")
    return tmp_path / "work"


def under_run(work: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return python(work, "-m", "phasescope", "run", *arguments, **environment)


def rings(work: Path) -> list[Path]:
    return list((work.parent / "phasescope").rglob("*.ring"))


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "nomod"],
        ["-mnomod"],
        ["-m", "nomod.py"],
        ["-m", "package"],
        ["-m", "package.nothing"],
        ["-m", "package.nothing.further"],
        ["-m", "sys"],
        ["-m", " "],
        ["-m", ".relative"],
        ["package"],
        ["nowhere.py"],
    ],
    ids=" ".join,
)
def test_what_is_mistyped_is_told_as_python_tells_it_and_leaves_no_session(work: Path, command: list[str]) -> None:
    alone, done = python(work, *command), under_run(work, *command)
    assert (done.returncode, done.stdout, done.stderr) == (alone.returncode, alone.stdout, alone.stderr)
    assert alone.returncode in (1, 2)
    assert rings(work) == []


def test_a_package_that_raises_is_imported_once_and_its_session_says_so(work: Path) -> None:
    (work / "package" / "__init__.py").write_text("print('a package')\nraise LookupError('no data')\n")
    command = ["-m", "package.nothing"]
    alone, done = python(work, *command), under_run(work, "--no-summary", *command)
    assert (done.returncode, done.stdout) == (alone.returncode, alone.stdout)
    assert done.stderr.splitlines()[-1] == alone.stderr.splitlines()[-1] == "LookupError: no data"
    (ring,) = rings(work)
    with phasescope.attach(ring) as reader:
        assert reader.ending().error_type == "LookupError"


def test_each_option_reaches_the_session(work: Path) -> None:
    (work / "script.py").write_text(
        "import json, phasescope\n"
        "options = phasescope.current().options\n"
        f"print(json.dumps({{name: getattr(options, name) for name in {sorted(OPTIONS)}}}))\n"
    )
    options = ["--peaks", "--device-time", "--oom-snapshot", "snapshots", "--record", "runs/", "--record-bytes", "2MiB"]
    options += ["--no-census", "--sites", "--capacity=1MiB", "--interval-ms", "50", "--dir", "rings"]
    done = under_run(work, "--no-summary", *options, "script.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "peaks": True,
        "device_time": True,
        "oom_snapshot": str(work / "snapshots"),
        "record": str(work / "runs") + os.sep,
        "record_bytes": 2 << 20,
        "capacity_bytes": 1 << 20,
        "interval_ms": 50,
        "directory": str(work / "rings"),
        "census": False,
        "sites": True,
    }
    assert len(list((work / "runs").glob("*.jsonl"))) == 1


def test_a_child_is_started_with_the_same_options() -> None:
    settings = {"directory": "/d", "interval_ms": 5, "peaks": True, "device_time": False, "record": "/r/"}
    words = Run("run-1", True, settings).options()
    own, rest = run_command.split([*words, "script.py", "--peaks"])
    assert (own, rest) == (words, ["script.py", "--peaks"])
    assert words == ["--child-of", "run-1", "--dir", "/d", "--interval-ms", "5", "--peaks", "--record", "/r/"]


def test_all_options_that_take_a_value_are_told_from_the_script() -> None:
    switches = ("peaks", "device_time", "census", "sites")
    for name, option in OPTIONS.items():
        given = [option] if name in switches else [option, "value"]
        assert run_command.split([*given, "script.py"]) == (given, ["script.py"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--record", "run.parquet"], "must be a directory or end in .jsonl"),
        (["--capacity", "5"], "is not a size from 64.0 KiB to 64.0 GiB"),
        (["--record-bytes", "MiB"], "is not a size from 1.00 MiB"),
    ],
)
def test_an_option_that_is_wrong_ends_with_2_before_the_script(work: Path, options: list[str], text: str) -> None:
    done = under_run(work, *options, "script.py")
    assert done.returncode == 2
    assert text in done.stderr
    assert rings(work) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_recording_that_cannot_be_written_costs_only_the_recording(work: Path) -> None:
    done = under_run(work, "--record", "/proc/nowhere/run.jsonl", "script.py")
    assert done.returncode == 0
    assert done.stderr.startswith("phasescope: not recorded to /proc/nowhere/run.jsonl: ")
    assert len(rings(work)) == 1


def again(stderr: str) -> list[str] | None:
    (line,) = [line for line in stderr.splitlines() if line.startswith("phasescope: pid ")]
    _, told, command = line.partition("again with: phasescope ")
    return command.split() if told else None


@pytest.mark.skipif(os.name == "nt", reason="there rings live in memory in any case")
@pytest.mark.parametrize("options", [[], ["--dir", "elsewhere"]], ids=" ".join)
def test_the_command_at_the_end_shows_the_session_again(work: Path, options: list[str]) -> None:
    command = again(under_run(work, *options, "script.py").stderr)
    assert command is not None
    shown = python(work, "-m", "phasescope", *command)
    assert shown.returncode == 0, shown.stderr
    assert "step " in shown.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("options", [[], ["--record", "run.jsonl"]], ids=" ".join)
def test_where_no_file_can_hold_the_session_only_what_works_is_said(work: Path, options: list[str]) -> None:
    done = under_run(work, *options, "script.py", PHASESCOPE_DIR="/proc/nowhere")
    assert "name another directory (PHASESCOPE_DIR, or run --dir)" in done.stderr
    command = again(done.stderr)
    if not options:
        assert command is None
        assert "no file holds its session, so this is all that is left of it" in done.stderr
    else:
        assert command is not None
        assert "step " in python(work, "-m", "phasescope", *command).stdout


@pytest.mark.parametrize(
    ("command", "advised"),
    [
        (["python", "train.py"], "start(peaks=True) measures them exactly"),
        (["python", "-m", "phasescope", "run", "train.py"], "`phasescope run --peaks` measures them exactly"),
        (["/usr/bin/phasescope", "run", "--peaks", "train.py"], None),
    ],
)
def test_advice_names_the_option_of_what_began_the_session(command: Sequence[str], advised: str | None) -> None:
    events = steps(3)
    lines = [
        line for line in explain(evidence(events, constants={"command": list(command)})).unknown if "peaks" in line
    ]
    assert lines == [f"peaks between two looks{'' if advised is None else f': {advised}'}"]
