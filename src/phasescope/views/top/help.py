"""The text for when there is nothing to show yet, and the keys."""

from __future__ import annotations

from phasescope.analysis.formatting import printable
from phasescope.views.top.styled_line import StyledLine, spread

KEYS = (
    ("↑ ↓", "choose the session or job"),
    ("r  R", "the next rank of the job, the one before"),
    ("d  D", "the next device, the one before"),
    ("tab", "below: phases, ranks, events"),
    ("PgUp PgDn", "scroll the part below"),
    ("← →", "back and forward in time"),
    ("home end", "to the beginning, to now"),
    ("- +", "show more of the time, or less"),
    ("z", "height: own memory, whole device, fitted"),
    ("p, space", "hold the picture, or go on"),
    ("s  S", "sort the phases by the next figure"),
    ("e", "export the session to a JSON file"),
    ("t", "colours: dark, light, none"),
    ("?  h", "this help"),
    ("q", "quit"),
)

_EXAMPLE = """\
import phasescope
from phasescope import phase

phasescope.start()
for batch in loader:
    with phase("forward"): ...
    with phase("backward"): ..."""

_FOOT = (
    ("↑↓", "session"),
    ("r", "rank"),
    ("d", "device"),
    ("tab", "panel"),
    ("←→", "time"),
    ("p", "pause"),
    ("s", "sort"),
    ("e", "export"),
)
_ALWAYS = StyledLine(("?", "title"), (" help  ", "dim"), ("q", "title"), (" quit ", "dim"))


def keys_line(width: int, *, ranks: bool, sessions: bool, devices: bool) -> StyledLine:
    """Return the keys that do something now, as many as fit."""
    hidden = {"r": not ranks, "↑↓": not sessions, "d": not devices}
    line = StyledLine((" ", "text"), base="bar")
    for key, what in _FOOT:
        if hidden.get(key):
            continue
        if line.width + len(key) + len(what) + 3 + _ALWAYS.width > width:
            break
        line.add(key, "title").add(f" {what}  ", "dim")
    return spread(line, _ALWAYS, width)


def help_lines() -> list[StyledLine]:
    """Return the meaning of the keys and the signs."""
    lines = [StyledLine((f"  {key:<11}", "title"), (what, "text")) for key, what in KEYS]
    lines.append(StyledLine())
    lines.append(StyledLine(("  ● open now   ✗3 errors   ≥ the most that was seen   – not known", "dim")))
    lines.append(StyledLine(("  ↻2: the allocator gave back its cache and tried again, twice", "dim")))
    lines.append(StyledLine(("  of step: a phase's share of the time of one step", "dim")))
    return lines


def waiting_lines(places: list[str], width: int, height: int) -> list[StyledLine]:
    """Say that no session is there yet, and how one is started; in the middle of the screen."""
    lines = [
        StyledLine(("waiting for a session", "strong")),
        StyledLine(),
        StyledLine(("in a training of yours:", "dim")),
        StyledLine(),
    ]
    lines += [StyledLine((text, "text")) for text in _EXAMPLE.splitlines()]
    lines += [
        StyledLine(),
        StyledLine(("or in another terminal:  ", "dim"), ("phasescope demo", "title")),
        StyledLine(),
    ]
    lines += [StyledLine((f"looking in {printable(place)}", "dim")) for place in places[:4]]
    lines = lines[: max(1, height)]
    left = max(0, (width - max(line.width for line in lines)) // 2)
    above = max(0, (height - len(lines)) // 3)
    return [StyledLine()] * above + [StyledLine((" " * left, "text"), *line.parts) for line in lines]
