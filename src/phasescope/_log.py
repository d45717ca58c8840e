"""The messages of the profiler: each cause once, by a warning where the user called us, else by one log line."""

from __future__ import annotations

import contextlib
import logging
import warnings

logger = logging.getLogger("phasescope")

_MAX_SAID = 100
_said: set[str] = set()
aloud = True
"""Whether warnings are given as such; else they are logged, as in the children of a run."""


class PhasescopeWarning(UserWarning):
    """A session is not as it was asked for; the training goes on."""


def warn(text: str, stacklevel: int = 2) -> None:
    """Warn the caller of a public function; `stacklevel` as if the warning were given where this is called.

    Under `-W error` it is logged instead: a warning must not end a run.
    """
    try:
        if not aloud:
            logger.warning(text)
            return
        warnings.warn(text, PhasescopeWarning, stacklevel=stacklevel + 1)
    except Exception:  # also what a `showwarning` of the training's raises
        with contextlib.suppress(Exception):
            logger.warning(text)


def log_once(cause: str, text: str, *arguments: object) -> None:
    """Write one log line per cause and process."""
    if cause not in _said and len(_said) < _MAX_SAID:
        _said.add(cause)
        with contextlib.suppress(Exception):  # a handler of the training's may raise
            logger.warning(text, *arguments)
