"""Scenarios that run real frameworks in a process of their own: the parts that their scripts and tests share.

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
from support.assertions import events_of
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

TESTS = Path(__file__).parents[1]
SCRIPTS = TESTS / "integrations" / "scripts"
DOCS = TESTS.parent / "docs" / "integrations.md"

_scenarios: dict[str, Callable[[], Any]] = {}


def scenario(function: Callable[[], Any]) -> Callable[[], Any]:
    """Register a scenario: `tell_all` prints its name and result."""
    _scenarios[function.__name__] = function
    return function


def tell_all(*names: str) -> None:
    """Run every scenario, or those named, and print their results as the last line."""
    results = {}
    for name in names or _scenarios:
        results[name] = _scenarios[name]()
        assert phasescope.current() is None, f"{name} left a session"
    print("\n" + json.dumps(results))


def phases(session: phasescope.Session) -> list[str]:
    """Return every phase in the order of entry, as `phases_in` has them, after a check of all events."""
    return phases_in(events_of(session))


def notes(session: phasescope.Session) -> list[str]:
    """Return the texts of exits about phases that were not closed as they should be."""
    return [event["context"] for event in session.events() if event["event_type"] == "phase_exit" and event["context"]]


def made_of(session: phasescope.Session | phasescope.Reader) -> dict[str, int]:
    """Return what the host's tensors were made of at the last look, by category, in bytes."""
    found = next(row.categories for row in session.summary().devices if row.label == "host")
    return {} if found is None else {part.name: part.size_bytes for part in found.parts}


def forget_models() -> None:
    """Have only the models count that come now: those of the scenarios before may still be there, as garbage."""
    from phasescope.integrations._torch_looks import looks

    looks._models.clear()
    looks._optimizers.clear()
    looks.modules._parts.clear()


def results_of(script: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """Return the results of a script's scenarios, by their names. Its failure fails the test."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
        env={
            **os.environ,
            "PHASESCOPE_DIR": str(folder / "rings"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(TESTS),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # each function runs a few times: compiling them takes longer
        },
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return results


def phases_in(events: Iterable[dict[str, Any]]) -> list[str]:
    """Return every phase in the order of entry, as "epoch/forward", with " error ValueError" and the like if not ok."""
    scopes = [event["metadata"]["phase_scope"] for event in events if event["event_type"].startswith("phase_")]
    ends = {scope["scope_id"]: scope for scope in scopes if scope["action"] == "exit"}
    return [_told(scope, ends.get(scope["scope_id"], {})) for scope in scopes if scope["action"] == "enter"]


def _told(begin: dict[str, Any], end: dict[str, Any]) -> str:
    status = end.get("status", "open")
    how = [] if status == "ok" else [status, *([end["error_type"]] if "error_type" in end else [])]
    return " ".join(["/".join(begin["path"]), *how])


def tree(phases: Sequence[str]) -> list[str]:
    """Return the distinct paths in the order first seen, whatever their status."""
    return list(dict.fromkeys(phase.partition(" ")[0] for phase in phases))


def folded(phases: Sequence[str]) -> str:
    """Return the whole tree in a line: `epoch[step[data forward] x 2]`; repeats in a row are counted."""
    stack: list[tuple[str, list[str]]] = [("", [])]

    def close() -> None:
        name, inside = stack.pop()
        stack[-1][1].append(name + (f"[{_runs(inside)}]" if inside else ""))

    for phase in phases:
        path, space, how = phase.partition(" error")
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
    """Return the tree in the first code block below a heading of docs/integrations.md, as paths.

    A line is a phase: its depth by two spaces a level, its name, and behind two spaces or more a remark.
    """
    text = DOCS.read_text(encoding="utf-8")
    block = re.search(rf"^#+ {re.escape(heading)}$.*?^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block, f"no tree below {heading!r}"
    paths: list[str] = []
    path: list[str] = []
    for line in block[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        path = [*path[:depth], line.split()[0]]
        paths.append("/".join(path))
    return paths
