"""What advice names to ask for more: an option of `start()`, or of `phasescope run` if that began the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .evidence import Evidence

_OPTIONS = {
    "peaks": ("start(peaks=True)", "--peaks", ""),
    "oom_snapshot": ("start(oom_snapshot=DIR)", "--oom-snapshot", " DIR"),
}


def asked_by(option: str, evidence: Evidence) -> str | None:
    """Return what the next run would be started with; None if this one is known to have been started so."""
    start, name, value = _OPTIONS[option]
    if evidence.run_command is None:
        return start
    is_asked = any(word.partition("=")[0] == name for word in evidence.run_command)
    return None if is_asked else f"`phasescope run {name}{value}`"
