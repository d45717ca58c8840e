"""The files of the installed torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def torch_source(path: str) -> str:
    """Return a file of the installed torch, which takes a second and more to import."""
    spec = importlib.util.find_spec("torch")
    if spec is None:
        pytest.skip("torch is not installed here")
    assert spec.origin is not None
    return (Path(spec.origin).parent / path).read_text(encoding="utf-8")
