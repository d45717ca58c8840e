"""Children of multiprocessing with sessions of their own: `children.py METHOD TARGET`. Run by test_explain_ends.py."""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import phasescope
from phasescope import phase


def _steps() -> None:
    for _ in range(20):
        with phase("step"):
            pass


def well() -> None:
    """Begins a session that nobody stops, and returns."""
    phasescope.start()
    _steps()


def raises() -> None:
    phasescope.start()
    _steps()
    with phase("evaluate"):
        raise KeyError("loss")


def raises_outside() -> None:
    phasescope.start()
    _steps()
    raise ValueError("bad")


def raises_beside_tools() -> None:
    """Other tools hold what `sys.monitoring` leaves to everybody, so that nobody sees the end."""
    for tool in (3, 4):
        sys.monitoring.use_tool_id(tool, f"tool {tool}")  # type: ignore[attr-defined]
    raises_outside()


def forks() -> None:
    """Ends well after a child of its own has failed, which was forked while this one's target was watched."""
    phasescope.start()
    _steps()
    _joined(multiprocessing.get_context("fork").Process(target=_fails))


def _fails() -> None:
    raise ValueError("of the grandchild, which has no session")


def exits() -> None:
    phasescope.start()
    _steps()
    sys.exit(3)


def killed() -> None:
    phasescope.start()
    _steps()
    os.kill(os.getpid(), 9)


def in_pool() -> None:
    """One of a pool's workers, which ends when the pool is shut down."""


def _joined(child: Any) -> None:
    child.start()
    child.join(600)


if __name__ == "__main__":
    context: Any = multiprocessing.get_context(sys.argv[1])
    if sys.argv[2] == "in_pool":
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            pool.submit(well).result()
    else:
        child = context.Process(target=globals()[sys.argv[2]])
        try:
            raise LookupError("the parent's own, and a forked child is born handling it")
        except LookupError:
            _joined(child)
