"""Questions that tests ask of a session's events, and the rules that hold for every one of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from phasescope import validate_event

if TYPE_CHECKING:
    from phasescope import Session

Event = dict[str, Any]


def events_of(session: Session, event_type: str | None = None) -> list[Event]:
    """Return the session's events, or those of one type, every one of them checked."""
    events = session.events()
    for event in events:
        validate_event(event)
        json.dumps(event, allow_nan=False).encode("ascii")
        json.dumps(event, allow_nan=False, ensure_ascii=False).encode("utf-8")
    check_order(events)
    return [event for event in events if event_type in (None, event["event_type"])]


def check_order(events: list[Event]) -> None:
    """Check that sequences only grow, and that a phase is entered once before it is left, inside its parent's path."""
    last, paths = 0, dict[str, list[str]]()
    left = set[str]()
    for event in events:
        scope = event["metadata"].get("phase_scope")
        if scope is None or "action" not in scope:
            continue
        assert scope["sequence"] > last
        last = scope["sequence"]
        assert scope["depth"] == len(scope["path"])
        assert scope["name"] == scope["path"][-1]
        if scope["action"] == "enter":
            assert scope["scope_id"] not in paths
            paths[scope["scope_id"]] = scope["path"]
            parent = scope["parent_scope_id"]
            assert scope["path"][:-1] == (paths[parent] if parent else []) or scope["depth"] == 64
        else:
            assert paths[scope["scope_id"]] == scope["path"]
            assert scope["scope_id"] not in left
            left.add(scope["scope_id"])


def scopes(session: Session, action: str = "exit") -> list[Event]:
    """Return the `phase_scope` of every enter or exit, in order."""
    events = events_of(session, f"phase_{action}")
    return [event["metadata"]["phase_scope"] for event in events]


def paths(session: Session, action: str = "exit") -> list[str]:
    """Return the paths of every enter or exit, in order, as "epoch/step"."""
    return ["/".join(scope["path"]) for scope in scopes(session, action)]


def only(session: Session, event_type: str) -> Event:
    """Return the one event of its type."""
    (event,) = events_of(session, event_type)
    return event


def exit_of(session: Session, path: str) -> Event:
    """Return the exit event of the one phase with this path; tests look at its `phase_scope` and context."""
    exits = [e for e in events_of(session, "phase_exit") if "/".join(e["metadata"]["phase_scope"]["path"]) == path]
    (event,) = exits
    return event
