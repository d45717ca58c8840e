"""Recordings made by hand, as the recorder writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.recordings.jsonl_writer import Writer
from phasescope.recordings.line_text import line_of
from phasescope.recordings.notes import Note
from support.events import SESSION_ID, MadeSession

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Event = dict[str, Any]
ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst")
SESSION = {"session_id": SESSION_ID, "pid": 4242, "host": "node-07", "sampling_interval_ms": 100, "command": ["train"]}


def steps(count: int, session: MadeSession | None = None) -> list[Event]:
    """Return the events of `count` steps."""
    made = MadeSession() if session is None else session
    for _ in range(count):
        made.run("step", ms=2, change=1024)
    return made.events


def write(path: Path, events: Iterable[Event], *, session: dict[str, Any] = SESSION, **bounds: int) -> Path:
    """Write a recording of these events, ended well."""
    count = 0
    writer = Writer(path, lambda: line_of(Note(session, events=count).to_event()), **bounds)
    for event in events:
        writer.write(line_of(event))
        count += 1
    writer.write(line_of(Note(session, events=count, state="stopped", end=True).to_event()))
    writer.close()
    return path
