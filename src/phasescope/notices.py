"""What the profiler says aloud: each cause once, by a warning where the user called us, else by one log line."""

from __future__ import annotations

import logging
import warnings

logger = logging.getLogger("phasescope")

_said: set[str] = set()


class PhasescopeWarning(UserWarning):
    """Something about a session is not as asked for; the training goes on."""


def warn(text: str, stacklevel: int = 3) -> None:
    """Warn the caller of a public function. Under `-W error` it is logged instead: a warning must not end a run."""
    try:
        warnings.warn(text, PhasescopeWarning, stacklevel=stacklevel + 1)
    except PhasescopeWarning:
        logger.warning(text)


def log_once(cause: str, text: str, *arguments: object) -> None:
    """One log line per cause and process."""
    if cause not in _said:
        _said.add(cause)
        logger.warning(text, *arguments)
