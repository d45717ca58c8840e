"""The process that a backend is in: whether it is still the same one, and which packages are installed."""

from __future__ import annotations

import importlib.util
import os

process = object()
"""Another object in every forked child, so that comparing it costs less than asking for the pid."""


def is_installed(*modules: str) -> bool:
    """Return whether one of these top-level modules could be imported. Imports nothing."""
    for name in modules:
        try:
            if importlib.util.find_spec(name) is not None:
                return True
        except ValueError:  # in `sys.modules`, but without a spec or forbidden there
            continue
    return False


def _renew() -> None:
    global process
    process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
