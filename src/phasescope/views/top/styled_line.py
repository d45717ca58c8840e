"""What a screen is drawn with: lines of text whose pieces have roles. What a role looks like, the palette says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import elide, text_width

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Line:
    """One line: (text, role) pieces from left to right. `base` is the role of what is behind and between them.

    The texts must be harmless already: `analysis.text.printable` makes them so.
    """

    __slots__ = ("base", "parts")

    def __init__(self, *parts: tuple[str, str], base: str = "base") -> None:
        self.parts = list(parts)
        self.base = base

    def add(self, text: str, role: str = "text") -> Line:
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


def spread(left: Line, right: Line, width: int) -> Line:
    """One line with `left` at its left and `right` at its right. Where both do not fit, `left` is cut."""
    room = width - right.width - 2
    if room < 0:
        return cut(left, width)
    fitted = cut(left, room)
    gap = " " * (width - fitted.width - right.width)
    return Line(*fitted.parts, (gap, "text"), *right.parts, base=left.base)


def cut(line: Line, width: int) -> Line:
    """The line, its last pieces elided or left out where it is wider than `width` columns."""
    if line.width <= width:
        return line
    fitted = Line(base=line.base)
    room = width
    for text, role in line.parts:
        used = text_width(text)
        if used > room:
            return fitted.add(elide(text, room) if room > 0 else "", role)
        fitted.add(text, role)
        room -= used
    return fitted


def joined(lines: Iterable[Line], between: str = "  ") -> Line:
    """Lines one after the other on one line."""
    whole = Line()
    for line in lines:
        if whole.parts:
            whole.add(between)
        whole.parts += line.parts
    return whole


def visible(at: int, count: int, height: int) -> int:
    """From which row on a list of `count` rows is shown in `height` of them, so that row `at` is near the middle."""
    return max(0, min(at - height // 2, count - height))


def plain(lines: Sequence[Line]) -> str:
    """The lines as text."""
    return "\n".join(line.text.rstrip() for line in lines)
