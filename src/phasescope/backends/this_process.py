"""The process that a backend is in: whether it is still the same one."""

from __future__ import annotations

import os

process = object()
"""Another object in every forked child, so that comparing it costs less than asking for the pid."""


def _renew() -> None:
    global process
    process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
