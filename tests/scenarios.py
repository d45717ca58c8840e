"""Scenarios that run real frameworks in a process of their own: what their scripts and the tests of them share.

A script runs several, since importing a framework takes seconds, and prints what their events say.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import phasescope
from reading import events_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

TESTS = Path(__file__).parent
SCRIPTS = TESTS / "integrations" / "scripts"
DOCS = TESTS.parent / "docs" / "integrations.md"

_scenarios: dict[str, Callable[[], Any]] = {}


def scenario(function: Callable[[], Any]) -> Callable[[], Any]:
    """Its name and what it returns are printed by `tell_all`."""
    _scenarios[function.__name__] = function
    return function


def tell_all(*names: str) -> None:
    """Run every scenario, or those named, and print their results as the last line."""
    told = {}
    for name in names or _scenarios:
        told[name] = _scenarios[name]()
        assert phasescope.current() is None, f"{name} left a session"
    print("\n" + json.dumps(told))


def phases(session: phasescope.Session) -> list[str]:
    """Every phase in the order of entry, as `phases_in` tells them, after a check of all events."""
    return phases_in(events_of(session))


def notes(session: phasescope.Session) -> list[str]:
    """What the exits say of phases that were not closed as they should be."""
    return [event["context"] for event in session.events() if event["event_type"] == "phase_exit" and event["context"]]


def told_by(script: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """What the scenarios of a script told, by their names. Its failure fails the test."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "PHASESCOPE_DIR": str(folder / "rings"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)},
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def phases_in(events: Iterable[dict[str, Any]]) -> list[str]:
    """Every phase in the order of entry, as "epoch/forward", with " error ValueError" and the like where not ok."""
    scopes = [event["metadata"]["phase_scope"] for event in events if event["event_type"].startswith("phase_")]
    ends = {scope["scope_id"]: scope for scope in scopes if scope["action"] == "exit"}
    return [_told(scope, ends.get(scope["scope_id"], {})) for scope in scopes if scope["action"] == "enter"]


def _told(begin: dict[str, Any], end: dict[str, Any]) -> str:
    status = end.get("status", "open")
    how = [] if status == "ok" else [status, *([end["error_type"]] if "error_type" in end else [])]
    return " ".join(["/".join(begin["path"]), *how])


def tree(phases: Sequence[str]) -> list[str]:
    """The distinct paths in the order first seen, whatever their status."""
    return list(dict.fromkeys(phase.partition(" ")[0] for phase in phases))


def folded(phases: Sequence[str]) -> str:
    """The whole tree in a line: `epoch[step[data forward] x 2]`; what comes several times in a row is told once."""
    stack: list[tuple[str, list[str]]] = [("", [])]

    def close() -> None:
        name, inside = stack.pop()
        stack[-1][1].append(name + (f"[{_runs(inside)}]" if inside else ""))

    for told in phases:
        path, space, how = told.partition(" error")
        parts = path.split("/")
        while len(stack) > len(parts):
            close()
        stack.append((f"{parts[-1]}{space}{how}", []))
    while len(stack) > 1:
        close()
    return _runs(stack[0][1])


def _runs(told: Sequence[str]) -> str:
    counts = ((one, sum(1 for _ in run)) for one, run in itertools.groupby(told))
    return " ".join(one if count == 1 else f"{one} x {count}" for one, count in counts)


def documented(heading: str) -> list[str]:
    """The tree in the first code block below a heading of docs/integrations.md, as paths.

    A line is a phase: its depth by two spaces a level, its name, and behind two spaces or more a remark.
    """
    text = DOCS.read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(heading)}$.*?^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, f"no tree below {heading!r}"
    paths: list[str] = []
    path: list[str] = []
    for line in found[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        path = [*path[:depth], line.split()[0]]
        paths.append("/".join(path))
    return paths
