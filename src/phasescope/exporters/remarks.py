"""The lines in which an exporter's thread speaks to the user."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def safely(say: Callable[[str], object]) -> Callable[[str], None]:
    """Wrap what says a line, so that a terminal or file that takes none ends no thread."""

    def said(line: str) -> None:
        with contextlib.suppress(Exception):
            say(line)

    return said
