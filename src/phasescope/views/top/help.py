"""What is said where there is nothing to show yet, and what the keys do."""

from __future__ import annotations

from phasescope.analysis.formatting import printable
from phasescope.views.top.styled_line import Line, spread

KEYS = (
    ("↑ ↓", "choose the session or job"),
    ("r  R", "the next rank of the job, the one before"),
    ("d  D", "the next device, the one before"),
    ("tab", "below: phases, ranks, events"),
    ("PgUp PgDn", "scroll what is below"),
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
_ALWAYS = Line(("?", "title"), (" help  ", "dim"), ("q", "title"), (" quit ", "dim"))


def keys_line(width: int, *, ranks: bool, sessions: bool, devices: bool) -> Line:
    """The keys that do something now, as many as fit."""
    hidden = {"r": not ranks, "↑↓": not sessions, "d": not devices}
    line = Line((" ", "text"), base="bar")
    for key, what in _FOOT:
        if hidden.get(key):
            continue
        if line.width + len(key) + len(what) + 3 + _ALWAYS.width > width:
            break
        line.add(key, "title").add(f" {what}  ", "dim")
    return spread(line, _ALWAYS, width)


def help_lines() -> list[Line]:
    """What the keys do and the signs mean."""
    lines = [Line((f"  {key:<11}", "title"), (what, "text")) for key, what in KEYS]
    lines.append(Line())
    lines.append(Line(("  ● open now   ✗3 errors   ≥ the most that was seen   – not known", "dim")))
    lines.append(Line(("  of step: a phase's share of the time of one step", "dim")))
    return lines


def waiting_lines(places: list[str], width: int, height: int) -> list[Line]:
    """That no session is there yet, and how one is started; in the middle of the screen."""
    lines = [Line(("waiting for a session", "strong")), Line(), Line(("in a training of yours:", "dim")), Line()]
    lines += [Line((text, "text")) for text in _EXAMPLE.splitlines()]
    lines += [Line(), Line(("or in another terminal:  ", "dim"), ("phasescope demo", "title")), Line()]
    lines += [Line((f"looking in {printable(place)}", "dim")) for place in places[:4]]
    lines = lines[: max(1, height)]
    left = max(0, (width - max(line.width for line in lines)) // 2)
    above = max(0, (height - len(lines)) // 3)
    return [Line()] * above + [Line((" " * left, "text"), *line.parts) for line in lines]
