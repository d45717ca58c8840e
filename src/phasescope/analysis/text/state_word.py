"""The word for how a session is doing or ended: the same in each list, table, heading and page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.diagnosis import ending as endings
from phasescope.analysis.formatting import duration_text

if TYPE_CHECKING:
    from phasescope.analysis.diagnosis.ending import Ending

_WORDS = {
    endings.RUNNING: "running",
    endings.FINISHED: "finished",
    endings.EXCEPTION: "failed",
    endings.KILLED: "killed",
    endings.DEVICE_OUT_OF_MEMORY: "out of memory",
    endings.HOST_OUT_OF_MEMORY: "out of memory",
    endings.UNKNOWN: "unknown",
}


def silent_word(silent_ns: int | None) -> str:
    """Return the words for a session that runs and is silent."""
    return f"silent {duration_text(silent_ns)}"


def state_word(ending: Ending) -> str:
    """Return the word, with `?` after what is inferred; of a silent session also for how long."""
    if ending.kind == endings.SILENT:
        return silent_word(ending.silent_ns)
    word = "interrupted" if ending.error_type == endings.INTERRUPT else _WORDS.get(ending.kind, ending.kind)
    return word if ending.certain else f"{word}?"
