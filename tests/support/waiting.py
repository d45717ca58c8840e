"""Wait for an event: of a thread, a process, a file. No test waits for a fixed time, for machines may be slow.

A ceiling only ends a test whose event never comes, so it is far above the time that anything takes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CEILING_S = 600.0
"""The ceiling of whatever a test waits for: an idle machine needs a second of it, one with much else to do minutes."""


def until(
    condition: Callable[[], object], ceiling_s: float = CEILING_S, *, pause_s: float = 0.001, state: object = ""
) -> None:
    """Wait until the condition holds. Fail the test if it never does, with `state`, or with its result."""
    deadline = time.monotonic() + ceiling_s
    while not condition():
        if time.monotonic() > deadline:
            shown = state() if callable(state) else state
            raise AssertionError(f"it did not come about within {ceiling_s:.0f} s {shown}")
        time.sleep(pause_s)
