"""Names from a training as label values: of bounded length and number, on one line, and never two names as one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import printable
from phasescope.analysis.summary.phase_tree import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Sequence

OTHER = "(other)"
"""Stands for the phases beyond the limit, and for those nested too deeply."""

MAX_CHARACTERS = 200
_DIGEST_CHARACTERS = 12


def text_label(value: object) -> str:
    """Return a value from outside as a label value; "" if it is None."""
    return "" if value is None else _shortened(_escaped(value if isinstance(value, str) else printable(value)))


def path_label(path: Sequence[str]) -> str:
    r"""Return a phase path as `epoch/forward`. A `/` in a name is written as `\/`, and so are control characters."""
    text = "/".join(_escaped(name).replace("/", "\\/") for name in path)
    return _shortened("\\" + text if text == OTHER else text)


class PhaseLabels:
    """The label values of one session's phases: of the first `most` paths their own, of all others `OTHER`."""

    def __init__(self, most: int) -> None:
        self.other = OTHER
        self._most = most
        self._known: dict[tuple[str, ...], str] = {}

    def label(self, path: tuple[str, ...]) -> str:
        """Return the path's label value, the same at every call."""
        value = self._known.get(path)
        if value is not None:
            return value
        if not path or len(path) > MAX_DEPTH or len(self._known) >= self._most:
            return OTHER
        label = self._known[path] = path_label(path)
        return label


def _escaped(text: str) -> str:
    # The escape sign first: otherwise a name that spells an escape would equal the name that needs it.
    return printable(text.replace("\\", "\\\\"))


def _shortened(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{text[: MAX_CHARACTERS - _DIGEST_CHARACTERS - 1]}…{digest}"
