"""What pyproject.toml claims of Pythons and dependencies is what `make test-versions` runs."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def script() -> Any:
    spec = importlib.util.spec_from_file_location("versions_script", ROOT / "scripts" / "test_versions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_python_that_is_claimed_is_run() -> None:
    claimed = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
    assert set(claimed) <= set(script().PYTHONS)
    assert f'requires-python = ">={claimed[0]}"' in PYPROJECT


def test_the_oldest_of_every_dependency_is_run_exactly() -> None:
    bounds = dict(re.findall(r'"([\w.-]+)>=([\w.]+)"', PYPROJECT))
    oldest = script().requirements(PYPROJECT, oldest=True)
    assert oldest == [f"{name}=={bound}" for name, bound in bounds.items() if name not in script().NOT_THEIRS]
    assert {"msgspec", "psutil", "nvidia-ml-py", "pyarrow", "textual"} <= {line.partition("=")[0] for line in oldest}
    assert not any("=" in line for line in script().requirements(PYPROJECT, oldest=False))


def test_a_python_is_found_by_its_version() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = script().interpreter(version)
    if found is not None:  # it may be one that goes by another name
        assert script().version_of(found) == version
    assert script().version_of(Path(sys.executable)) == version
    assert script().interpreter("3.1") is None
