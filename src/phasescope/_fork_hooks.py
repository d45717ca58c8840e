"""Functions that are called around forks of this process; where there is no fork, they never are."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # see phasescope/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable


def after_fork_in_child(function: Callable[[], None]) -> None:
    """Call `function` in every child that this process forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def around_fork(before: Callable[[], None], in_parent: Callable[[], None], in_child: Callable[[], None]) -> None:
    """Call these around each fork of this process."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)
