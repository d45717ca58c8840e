"""Words that a text is searched for. Most need no pattern: `start()` compiles each, at a cost."""

from __future__ import annotations

import re


class Wording:
    """Plain texts and patterns, of which one has to be there. `^` and `$` are the ends of lines."""

    __slots__ = ("_pattern", "_texts")

    def __init__(self, texts: tuple[str, ...], *patterns: str) -> None:
        self._texts = texts
        self._pattern = re.compile("|".join(patterns), re.MULTILINE)

    def is_in(self, text: str) -> bool:
        """Return whether one of them is in the text."""
        return any(each in text for each in self._texts) or self._pattern.search(text) is not None
