"""`phasescope clean`: what is over is removed, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import size_text
from support.commands import Training, needs_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@needs_files
def test_clean_removes_what_is_over_and_nothing_else(
    training: Training, directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    other = Training(directory)
    other.close()
    (dead,) = (path for path in directory.iterdir() if f"-{other.pid}-" in path.name)
    told = json.loads(run("clean", "--dry-run", "--json")[1])
    (file,) = told["files"]
    assert (told["removed"], told["dry_run"]) == ([str(dead)], True)
    assert (file["path"], file["pid"], file["state"]) == (str(dead), other.pid, "killed")
    assert file["size_bytes"] == dead.stat().st_blocks * 512 > 0
    assert "1 file would be removed" in run("clean", "--dry-run")[1]
    assert dead.exists()
    exit_code, out, err = run("clean")
    title, line, last = out.splitlines()
    assert (exit_code, err, title.split()) == (0, "", ["pid", "state", "size", "file"])
    size = size_text(file["size_bytes"])
    assert line.split() == [str(other.pid), "killed", *size.split(), str(dead)]
    assert last == f"1 file removed, {size}"
    assert not dead.exists()
    assert run("clean") == (0, "0 files removed\n", "")
    assert [session["pid"] for session in json.loads(run("ls", "--json")[1])] == [training.pid]
