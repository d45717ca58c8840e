"""The one widget: lines that a function draws for the width and height there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phasescope.views.top.palette import Palette
    from phasescope.views.top.styled_line import StyledLine


class Drawing(Widget):
    """Shows lines, with some empty columns at their right. Their text is never taken for markup."""

    DEFAULT_CSS = "Drawing { height: 0; width: 100%; }"

    def __init__(
        self,
        name: str,
        draw: Callable[[int, int], Sequence[StyledLine]],
        palette: Callable[[], Palette],
        margin: int = 0,
    ) -> None:
        super().__init__(id=name)
        self._margin = margin
        self._draw = draw
        self._palette = palette
        self._lines: Sequence[StyledLine] = ()
        self._drawn_for: tuple[int, int] | None = None

    def redraw(self) -> None:
        """Draw again when it is next shown."""
        self._drawn_for = None
        self.refresh()

    def take(self, height: int) -> None:
        """Have this many lines of the screen; 0 hides it."""
        self.display = height > 0
        if height > 0:
            self.styles.height = height

    @property
    def lines(self) -> Sequence[StyledLine]:
        """The lines shown now."""
        size = (self.size.width, self.size.height)
        if self._drawn_for != size:
            self._lines, self._drawn_for = self._draw(max(1, size[0] - self._margin), size[1]), size
        return self._lines

    def render_line(self, y: int) -> Strip:
        """Return line `y` as textual wants it."""
        palette, lines = self._palette(), self.lines
        width = self.size.width
        if y >= len(lines):
            return Strip([Segment(" " * width, palette.style("base"))], width)
        line = lines[y]
        base = palette.style(line.base)
        segments = [Segment(text, base + palette.style(role)) for text, role in line.parts if text]
        return Strip(segments).adjust_cell_length(width, base)
