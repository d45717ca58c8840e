"""The compiled core, and whether it is in use. Without it everything works the same, in Python.

`core` is the extension module `_core`, or None: where it was not built (no C compiler) or from other sources, where
`PHASESCOPE_PURE_PYTHON` is set to anything but 0, and on other interpreters than CPython. `why_not` says which.

May import nothing of this package.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # see phasescope/__init__.py
if TYPE_CHECKING:
    from typing import Any

__all__ = ["COMPILED", "PYTHON", "core", "has_phases", "name", "why_not"]

COMPILED, PYTHON = "compiled", "python"

SWITCH = "PHASESCOPE_PURE_PYTHON"
INTERFACE = 18
"""Counts up, here and in `core.h`, whenever what Python asks of the core changes."""


def _load() -> tuple[Any, str]:
    if os.environ.get(SWITCH, "0") not in ("", "0"):
        return None, f"{SWITCH} is set"
    if sys.implementation.name != "cpython":
        return None, f"there is none for {sys.implementation.name}"
    try:
        import phasescope._native._core as extension
    except ModuleNotFoundError:
        return None, "it was not built: there was no C compiler when phasescope was installed"
    except ImportError as error:  # built for another machine, or a second interpreter in this process
        return None, f"it cannot be loaded: {error}"
    if getattr(extension, "INTERFACE", 0) != INTERFACE:  # the sources of an editable install moved on
        return None, "it was built from other sources: install phasescope again"
    return extension, ""


core: Any
core, why_not = _load()

has_phases: bool = core is not None and core.HAS_PHASES
"""Whether phases are compiled too: not in free-threaded builds, where the core only reads."""

name: str = COMPILED if has_phases else PYTHON
"""The core that measures phases in this process."""
