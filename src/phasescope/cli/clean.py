"""Remove the files of sessions that are over: stopped, killed or crashed.

A running session is never touched, nor is a file that cannot be read. If there is nothing to remove, the exit code
is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope._json import json_text
from phasescope.analysis.formatting import UNKNOWN, Column, plural, printable, size_text, table
from phasescope.analysis.text.state_word import state_word
from phasescope.cli import OK
from phasescope.cli._output import Terminal
from phasescope.cli._session_args import add_directory, add_json, number
from phasescope.cli.ls import describe

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

_COLUMNS = (Column("pid"), Column("state", right=False), Column("size"), Column("file", right=False))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print what would be removed, and remove nothing")
    add_json(parser)
    add_directory(parser)


def run(arguments: argparse.Namespace) -> int:
    from phasescope.wire import ring_sweep

    # What they were is to be read before they go.
    over = {path: _described(path) for path in ring_sweep.clean(arguments.dir, dry_run=True)}
    removed = list(over) if arguments.dry_run else ring_sweep.clean(arguments.dir)
    files = [over.get(path) or _described(path) for path in removed]
    out = Terminal()
    if arguments.json:
        result = {"removed": [str(path) for path in removed], "files": files, "dry_run": arguments.dry_run}
        out.line(json_text(result, indent=2))
        return OK
    _show(out, files, "would be removed" if arguments.dry_run else "removed")
    return OK


def _described(path: Path) -> dict[str, Any]:
    """Return what a file is of, and how many bytes of disk or memory it takes; None is: not known."""
    session = describe(path)
    is_known = "error" not in session
    return {
        "path": str(path),
        "pid": number(session["pid"]) if is_known else None,
        "state": state_word(session["fared"]) if is_known else None,
        "size_bytes": _size_bytes(path),
    }


def _size_bytes(path: Path) -> int | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_blocks * 512  # what it takes up: blocks that a ring never reached do not count


def _show(out: Terminal, files: Sequence[dict[str, Any]], done: str) -> None:
    if files:
        title, *lines = table(_COLUMNS, map(_cells, files), None)
        out.line(title, "bold")
        for line in lines:
            out.line(line)
    freed = f", {size_text(sum(file['size_bytes'] or 0 for file in files))}" if files else ""
    out.line(f"{plural(len(files), 'file')} {done}{freed}")


def _cells(file: dict[str, Any]) -> list[str]:
    return [
        UNKNOWN if file["pid"] is None else str(file["pid"]),
        file["state"] or UNKNOWN,
        size_text(file["size_bytes"]),
        printable(file["path"]),
    ]
