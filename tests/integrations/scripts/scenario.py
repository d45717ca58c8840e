"""What the scenario scripts share: each runs several scenarios in one process and prints what their events say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import phasescope
from reading import scopes

if TYPE_CHECKING:
    from collections.abc import Callable

_scenarios: dict[str, Callable[[], Any]] = {}


def scenario(function: Callable[[], Any]) -> Callable[[], Any]:
    """Its name and what it returns are printed by `tell_all`."""
    _scenarios[function.__name__] = function
    return function


def tell_all() -> None:
    """Run every scenario, and print their results as the last line."""
    told = {}
    for name, function in _scenarios.items():
        told[name] = function()
        assert phasescope.current() is None, f"{name} left a session"
    print("\n" + json.dumps(told))


def phases(session: phasescope.Session) -> list[str]:
    """Every phase in the order of entry, as "epoch/forward", with " error ValueError" and the like where not ok."""
    ends = {scope["scope_id"]: scope for scope in scopes(session)}
    return [_told(scope, ends.get(scope["scope_id"], {})) for scope in scopes(session, "enter")]


def notes(session: phasescope.Session) -> list[str]:
    """What the exits say of phases that were not closed as they should be."""
    return [event["context"] for event in session.events() if event["event_type"] == "phase_exit" and event["context"]]


def _told(begin: dict[str, Any], end: dict[str, Any]) -> str:
    status = end.get("status", "open")
    how = [] if status == "ok" else [status, *([end["error_type"]] if "error_type" in end else [])]
    return " ".join(["/".join(begin["path"]), *how])
