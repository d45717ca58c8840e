"""The look of the roles of a drawing: in colours on dark and on light, and without any."""

from __future__ import annotations

import os
from typing import NamedTuple

from rich.style import Style

_DARK = {
    "background": "#0f1318",
    "text": "#c9d1d9",
    "dim": "#75808c",
    "faint": "#39424d",
    "strong": "#f0f4f8",
    "title": "#8ab4f8",
    "cursor": "#1d2a3a",
    "bar": "#1a2028",
    "live": "#4c9be8",
    "swing": "#8cc1f5",
    "slack": "#d9a648",
    "outside": "#a581d8",
    "children": "#4db6a4",
    "others": "#5b6178",
    "driver": "#8a6a5c",
    "unattributed": "#4a5064",
    "free": "#252c36",
    "good": "#7cc47f",
    "warn": "#e5b95c",
    "bad": "#ef6f6c",
    "ended": "#8b96a3",
}
_LIGHT = {
    "background": "#fbfbfa",
    "text": "#2b3138",
    "dim": "#6c7680",
    "faint": "#ccd2d8",
    "strong": "#0b0e11",
    "title": "#1f5fbf",
    "cursor": "#e2ecf8",
    "bar": "#eef1f4",
    "live": "#2f7fd1",
    "swing": "#86b8ec",
    "slack": "#d69a26",
    "outside": "#8558c4",
    "children": "#249484",
    "others": "#9aa1b5",
    "driver": "#b08d7d",
    "unattributed": "#b3b9c8",
    "free": "#e4e7eb",
    "good": "#2c8a3e",
    "warn": "#a86f00",
    "bad": "#c93a37",
    "ended": "#69737d",
}
_BOLD = ("strong", "good", "bad", "warn")
_PLAIN = {
    "strong": Style(bold=True),
    "title": Style(bold=True),
    "cursor": Style(reverse=True),
    "bar": Style(reverse=True),
    "dim": Style(dim=True),
    "faint": Style(dim=True),
    "free": Style(dim=True),
    "bad": Style(bold=True),
    "warn": Style(bold=True),
}

# The parts of a device are distinguished by colour or, without colours, by their signs.
_SIGNS = {"live": "█", "swing": "▓", "slack": "▒", "outside": "▚", "children": "▞", "others": "░", "driver": "╱"}
_FREE = "·"


class Palette(NamedTuple):
    """Styles by role. `coloured` False is for people who cannot or will not see colours; then the signs differ."""

    name: str
    coloured: bool
    background: str | None
    styles: dict[str, Style]

    def style(self, role: str) -> Style:
        """Return the style of a role, or of one upon another.

        `live/slack` is text in the colour of the first upon the second's.
        """
        style = self.styles.get(role)
        if style is None:
            front, _, back = role.partition("/")
            style = self.styles[role] = self._upon(front, back)
        return style

    def _upon(self, front: str, back: str) -> Style:
        upper, lower = self.styles.get(front), self.styles.get(back)
        if upper is None or not self.coloured:
            return upper or Style.null()
        return upper if lower is None else Style(color=upper.color, bgcolor=lower.color)

    def sign(self, role: str) -> str:
        """Return the sign and role of a part of a device."""
        if role == "free":
            return _FREE
        return "█" if self.coloured else _SIGNS.get(role, "░")


def _coloured(name: str, colours: dict[str, str]) -> Palette:
    background = colours["background"]
    styles = {role: Style(color=colour, bold=role in _BOLD) for role, colour in colours.items()}
    for role in ("cursor", "bar"):
        styles[role] = Style(color=colours["strong" if role == "cursor" else "text"], bgcolor=colours[role])
    styles["base"] = Style(color=colours["text"], bgcolor=background)
    return Palette(name, True, background, styles)


DARK = _coloured("dark", _DARK)
LIGHT = _coloured("light", _LIGHT)
PLAIN = Palette("plain", False, None, dict(_PLAIN))
PALETTES = (DARK, LIGHT, PLAIN)


def wanted() -> Palette:
    """Return the palette that the environment asks for: no colours with NO_COLOR or on a terminal that has none."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in ("dumb", "vt100", "vt220", "linux-m", "xterm-mono"):
        return PLAIN
    return DARK
