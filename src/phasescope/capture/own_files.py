"""Whether a file of Python code is the training's own, or one that was installed."""

from __future__ import annotations

import functools
import os

_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120 - `sysconfig` says the same, and takes 2 ms to load


@functools.lru_cache(maxsize=4096)
def is_own_file(file: str) -> bool:
    """Return whether a file is the training's own: not of an installed library, nor of Python."""
    if not file or file.startswith("<"):
        return False
    parts = file.replace("\\", "/").split("/")
    if any(part in _INSTALLED for part in parts):
        return False
    return not file.startswith(_STANDARD)
