"""An install where nothing can be compiled ends well, says so in `doctor`, and works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phasescope import _native
from support.waiting import CEILING_S

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != _native.SWITCH}


@pytest.mark.skipif(sys.platform == "win32", reason="its compiler is not found by CC")
def test_an_install_without_a_compiler_works(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "build", "*.egg-info")
    for name in ("src", "integrations"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source / name)
    target = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*install, "--disable-pip-version-check", "--root-user-action=ignore", "--target", str(target), str(source)],
        env={**ENVIRONMENT, "CC": "/bin/false"},
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    room = target / "phasescope" / "_native"
    assert {path.name for path in room.iterdir() if path.is_file()} == {"__init__.py", "_core.pyi"}
    code = """
import phasescope
from phasescope import _native, phase
with phasescope.start() as session:
    with phase("step"):
        pass
print(phasescope.__file__, "|", _native.why_not, "|", session.summary().rows[0].path)
"""
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**ENVIRONMENT, "PYTHONPATH": str(target), "PHASESCOPE_DIR": str(tmp_path / "rings")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=True,
    ).stdout.split("|")
    assert said[0].startswith(str(target))
    assert "no C compiler" in said[1]
    assert "step" in said[2]


STALE = """
import sys, types
module = types.ModuleType("phasescope._native._core")
module.HAS_PHASES = True
sys.modules["phasescope._native._core"] = module
from phasescope import _native
print(_native.core, _native.has_phases, _native.why_not)
"""


def test_a_core_of_other_sources_is_not_used() -> None:
    """As after `git pull` in an editable install: what was built before has not all that is asked of it."""
    done = subprocess.run(
        [sys.executable, "-c", STALE], capture_output=True, text=True, check=True, env=ENVIRONMENT, timeout=CEILING_S
    )
    assert done.stdout == "None False it was built from other sources: install phasescope again\n"
