"""The keys: (keys, action, name of the action)."""

from __future__ import annotations

BINDINGS = (
    ("up,k", "session(-1)", "session above"),
    ("down,j", "session(1)", "session below"),
    ("r", "rank(1)", "next rank"),
    ("R", "rank(-1)", "rank before"),
    ("d", "device(1)", "next device"),
    ("D", "device(-1)", "device before"),
    ("tab", "panel(1)", "next panel"),
    ("shift+tab", "panel(-1)", "panel before"),
    ("pagedown", "scroll(0.8)", "scroll down"),
    ("pageup", "scroll(-0.8)", "scroll up"),
    ("left", "time(0.25)", "back in time"),
    ("right", "time(-0.25)", "forward in time"),
    ("home", "edge(True)", "to the beginning"),
    ("end", "edge(False)", "to now"),
    ("minus", "zoom(1)", "more of the time"),
    ("plus,equals_sign", "zoom(-1)", "less of the time"),
    ("z", "scale", "height"),
    ("p,space", "hold", "pause"),
    ("s", "sort(1)", "sort"),
    ("S", "sort(-1)", "sort back"),
    ("e", "export", "export"),
    ("t", "colours", "colours"),
    ("question_mark,h,f1", "explain", "help"),
    ("q,ctrl+c", "quit", "quit"),
)
