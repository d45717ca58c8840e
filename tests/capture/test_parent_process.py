"""What the session of a child process says of its parent and of itself, however the child was started."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope.capture import parent_process
from support.commands import needs_files
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import multiprocessing, os, subprocess, sys
import phasescope

def work():
    with phasescope.start(directory=sys.argv[1], backends=["cpu"], interval_ms=3_600_000), phasescope.phase("work"):
        pass

if __name__ == "__main__":
    if sys.argv[2:] == ["by hand"]:
        work()
        raise SystemExit
    with phasescope.start(directory=sys.argv[1], backends=["cpu"], interval_ms=3_600_000):
        for method in sys.argv[2].split(","):
            if method == "subprocess":
                subprocess.run([sys.executable, __file__, sys.argv[1], "by hand"], check=True)
            elif method == "os.fork":
                if not os.fork():
                    work()
                    os._exit(0)
                os.wait()
            else:
                name = "mine, token=abcdef123" if method == "fork" else None
                child = multiprocessing.get_context(method).Process(target=work, name=name)
                child.start()
                child.join()
                assert child.exitcode == 0
"""


def constants_after(folder: Path, methods: str) -> list[dict[str, Any]]:
    (folder / "train.py").write_text(SCRIPT)
    rings = folder / "rings"
    subprocess.run([sys.executable, folder / "train.py", rings, methods], check=True, timeout=CEILING_S)
    found = []
    for ring in rings.rglob("*.ring"):
        with phasescope.attach(ring) as reader:
            found.append(reader.constants)
    return sorted(found, key=lambda each: each["started_ns"])


@needs_files
def test_each_kind_of_child_names_its_parent_and_its_script(tmp_path: Path) -> None:
    methods = ["fork", "spawn", "forkserver", "subprocess", "os.fork"]
    parent, *children = constants_after(tmp_path, ",".join(methods))
    assert (parent["parent_pid"], "process_name" in parent) == (os.getpid(), False)
    assert {(child["parent_pid"], child["parent_start_ticks"]) for child in children} == {
        (parent["pid"], parent["process_start_ticks"])
    }
    names = [child.get("process_name") for child in children]
    assert names == ["mine, token=***", "SpawnProcess-2", "ForkServerProcess-3", None, None]
    script = [os.fspath(tmp_path / "train.py"), os.fspath(tmp_path / "rings")]
    assert [child["command"][1:3] for child in children] == [script] * 5
    with phasescope.attach(directory=tmp_path / "rings") as reader:
        assert reader.constants["pid"] == children[-1]["pid"], "the parent has no phases"


@pytest.mark.neutral
def test_what_was_not_started_by_multiprocessing_keeps_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["python", "-c", "from multiprocessing import x"], ["python", "train.py"], []):
        monkeypatch.setattr(sys, "orig_argv", words, raising=False)
        monkeypatch.setattr(sys, "argv", words[1:] and ["-c" if "-c" in words else words[1]])
        assert parent_process.command_line() == words
    monkeypatch.setattr(sys, "argv", ["train.py", object(), "--large"])
    spawned = ["/bin/python", "-c", "from multiprocessing.spawn import spawn_main; spawn_main()"]
    monkeypatch.setattr(sys, "orig_argv", spawned, raising=False)
    assert parent_process.command_line() == ["/bin/python", "train.py", "--large"]
