"""Lines of text whose pieces have roles: a screen is drawn with them. The palette gives each role its style."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import elide, text_width

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class StyledLine:
    """One line: (text, role) pieces from left to right. `base` is the role of the space behind and between them.

    The texts must be harmless already: `analysis.text.printable` makes them so.
    """

    __slots__ = ("base", "parts")

    def __init__(self, *parts: tuple[str, str], base: str = "base") -> None:
        self.parts = list(parts)
        self.base = base

    def add(self, text: str, role: str = "text") -> StyledLine:
        """Put a piece at the end; gives the line itself."""
        if text:
            self.parts.append((text, role))
        return self

    @property
    def text(self) -> str:
        """Without the roles."""
        return "".join(text for text, _ in self.parts)

    @property
    def width(self) -> int:
        """In columns of a terminal."""
        return sum(text_width(text) for text, _ in self.parts)

    def __repr__(self) -> str:
        return f"<Line {self.text!r}>"


def spread(left: StyledLine, right: StyledLine, width: int) -> StyledLine:
    """Return one line with `left` at its left and `right` at its right. If both do not fit, `left` is cut."""
    room = width - right.width - 2
    if room < 0:
        return cut(left, width)
    fitted = cut(left, room)
    gap = " " * (width - fitted.width - right.width)
    return StyledLine(*fitted.parts, (gap, "text"), *right.parts, base=left.base)


def cut(line: StyledLine, width: int) -> StyledLine:
    """Return the line, its last pieces elided or left out if it is wider than `width` columns."""
    if line.width <= width:
        return line
    fitted = StyledLine(base=line.base)
    room = width
    for text, role in line.parts:
        used = text_width(text)
        if used > room:
            return fitted.add(elide(text, room) if room > 0 else "", role)
        fitted.add(text, role)
        room -= used
    return fitted


def joined(lines: Iterable[StyledLine], between: str = "  ") -> StyledLine:
    """Join lines into one."""
    whole = StyledLine()
    for line in lines:
        if whole.parts:
            whole.add(between)
        whole.parts += line.parts
    return whole


def visible(row: int, count: int, height: int) -> int:
    """Return the first row to show of a list of `count` rows in `height` of them, so that `row` is near the middle."""
    return max(0, min(row - height // 2, count - height))


def which(first: int, shown: int, all_rows: int) -> str:
    """Say which rows of a table are to be seen, if not all of them."""
    return f" {first + 1}–{first + shown} of {all_rows}" if 0 < shown < all_rows else ""


def plain(lines: Sequence[StyledLine]) -> str:
    """Return the lines as text."""
    return "\n".join(line.text.rstrip() for line in lines)
