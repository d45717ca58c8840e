"""All that is known of a session, written to a JSON file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope._json import json_text
from phasescope.analysis.diagnosis.verdict import verdict

if TYPE_CHECKING:
    from phasescope.analysis.jobs.job import Job
    from phasescope.views.top.shown_session import Watched

SCHEMA_VERSION = 1
"""Of the file; a key may be added without a new version."""

_MOST_POINTS = 2000


def contents(watched: Watched, job: Job | None = None) -> dict[str, Any]:
    """Return all of it as JSON types: the session, its state or ending, the summary, the timeline, and its job."""
    view = watched.view
    answer = watched.answer()
    return {
        "schema_version": SCHEMA_VERSION,
        "exported_ns": time.time_ns(),
        "path": watched.entry.path,
        "session": dict(watched.entry.constants),
        "ending": watched.ending().to_dict(),
        "summary": watched.summary().to_dict(),
        "timeline": view.timeline.to_dict(_MOST_POINTS, view.open_spans()),
        "verdict": None if answer is None else verdict(answer).to_dict(),
        "growth": [] if answer is None else [each.to_dict() for each in answer.evidence.growth],
        "job": None if job is None else job.to_dict(),
    }


def export(watched: Watched, job: Job | None = None, directory: Path | None = None) -> Path:
    """Write `phasescope-<pid>-<time>.json` into the directory, by default the current one, for this user alone.

    Return where it is. Raises OSError. A file that is there already is never written over.
    """
    text = json_text(contents(watched, job), indent=1)
    pid = watched.entry.constants.get("pid")
    pid = pid if type(pid) is int else "session"  # a file may call itself anything
    stem = f"phasescope-{pid}-{time.strftime('%Y%m%d-%H%M%S')}"
    for attempt in range(100):
        path = (directory or Path.cwd()) / f"{stem}{f'-{attempt}' if attempt else ''}.json"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
        return path
    raise FileExistsError(17, "there are a hundred exports of this second", str(directory or Path.cwd()))
