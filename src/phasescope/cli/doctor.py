"""Say which sources of counters answer here, who holds the devices' memory, and where live sessions lie.

It may import the frameworks that are installed, and takes a few seconds then. Exit code 1 where no directory
can hold a live session: sessions then run in memory, and no other process can look at them.
"""

from __future__ import annotations

import platform
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope._version import VERSION
from phasescope.analysis.formatting import (
    Column,
    pad,
    plural,
    printable,
    size_text,
    table,
)
from phasescope.cli import NOT_FOUND, OK, _driver_devices
from phasescope.cli._output import Terminal, json_text
from phasescope.cli._session_args import add_directory

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_SOURCES = (Column("source", right=False), Column("kind", right=False), Column("", right=False))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    add_directory(parser)


def run(arguments: argparse.Namespace) -> int:
    found = examine(arguments.dir)
    if arguments.json:
        Terminal().line(json_text(found, indent=2))
    else:
        _show(found)
    return OK if any(place["works"] for place in found["directories"]) else NOT_FOUND


def examine(directory: str | None) -> dict[str, Any]:
    """What the JSON output holds."""
    from phasescope.capture.session import diagnose
    from phasescope.wire import ring_files

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a framework has to say when it is imported is not asked here
        sources = diagnose()
    return {
        "phasescope": VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "sources": [
            {
                "name": source.name,
                "kind": source.kind,
                "works": source.works,
                "reason": source.reason,
                "remedy": source.remedy,
            }
            for source in sources
        ],
        "devices": _driver_devices.found(),
        "directories": [
            {"path": path, "works": ok, "reason": reason, "free_bytes": _free_bytes(path)}
            for path, ok, reason in ring_files.describe_directory(directory)
        ],
        "sessions": len(ring_files.find(directory)),
    }


def _free_bytes(path: str) -> int | None:
    """Free room in the file system where this is, or would be made."""
    place = Path(path)
    existing = next((parent for parent in (place, *place.parents) if parent.is_dir()), place)
    try:
        return shutil.disk_usage(existing).free
    except OSError:
        return None


def _show(found: dict[str, Any]) -> None:
    out = Terminal()
    versions = f"phasescope {found['phasescope']}, Python {found['python']}, {found['platform']}"
    out.line(printable(versions), "bold")
    out.line()
    title, *lines = table(_SOURCES, [_source_cells(source) for source in found["sources"]])
    out.line(title, "bold")
    for source, line in zip(found["sources"], lines, strict=True):
        out.line(line, "green" if source["works"] else "")
        if not source["works"] and source["remedy"]:
            out.line(f"  → {printable(source['remedy'])}", "dim")
    _driver_devices.show(out, found["devices"])
    out.line()
    out.line("where live sessions lie", "bold")
    _show_places(out, found["directories"])
    out.line(f"{plural(found['sessions'], 'session')} there; `phasescope ls` lists them")


def _show_places(out: Terminal, places: Sequence[dict[str, Any]]) -> None:
    width = max((len(printable(place["path"])) for place in places), default=0)
    used = False
    for place in places:
        room = f"{size_text(place['free_bytes'])} free"
        if not place["works"]:
            text, style = f"no: {printable(place['reason'])}", "yellow"
        else:
            text, style = (f"next choice, {room}", "") if used else (f"used, {room}", "green")
            used = True
        out.line(f"{pad(printable(place['path']), width)}  {text}", style)
    if not used:
        out.line("no directory works: sessions run in memory, and no other process sees them", "red")


def _source_cells(source: dict[str, Any]) -> list[str]:
    return [source["name"], source["kind"], "works" if source["works"] else f"no: {source['reason']}"]
