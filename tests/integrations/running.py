"""Runs the scenario scripts, each in a process of its own, and reads the trees that the docs promise."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPTS = Path(__file__).parent / "scripts"
DOCS = Path(__file__).parents[2] / "docs" / "integrations.md"


def told_by(script: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """What the scenarios of a script told, by their names. Its failure fails the test."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "PHASESCOPE_DIR": str(folder / "rings"), "OMP_NUM_THREADS": "1"},
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def tree(phases: Sequence[str]) -> list[str]:
    """The distinct paths in the order first seen, whatever their status."""
    return list(dict.fromkeys(phase.partition(" ")[0] for phase in phases))


def documented(heading: str) -> list[str]:
    """The tree in the first code block below a heading of docs/integrations.md, as paths.

    A line is a phase: its depth by two spaces a level, its name, and behind two spaces or more a remark.
    """
    text = DOCS.read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(heading)}$.*?^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, f"no tree below {heading!r}"
    paths: list[str] = []
    path: list[str] = []
    for line in found[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        path = [*path[:depth], line.split()[0]]
        paths.append("/".join(path))
    return paths
