"""Extension modules that tests and benchmarks build for themselves."""

from __future__ import annotations

import importlib.util
import subprocess
import sysconfig
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def build(source: Path, folder: Path) -> Path:
    """Build an extension module in the folder. Raises FileNotFoundError without gcc, CalledProcessError if it fails."""
    made = folder / f"{source.stem}{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = f"-I{sysconfig.get_paths()['include']}"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", include, str(source), "-o", str(made)], check=True)
    return made


def load(made: Path) -> Any:
    """Import an extension module that was built so."""
    spec = importlib.util.spec_from_file_location(made.name.partition(".")[0], made)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
