"""Show which sources of counters work here, who holds the memory, which extras there are, and where sessions lie.

It may import the frameworks that are installed, and then takes a few seconds. The exit code is 1 if no directory
can hold a live session: sessions are then kept in memory, and no other process can read them.
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope import _native
from phasescope._json import json_text
from phasescope._version import VERSION
from phasescope.analysis.formatting import (
    Column,
    pad,
    plural,
    printable,
    size_text,
    table,
)
from phasescope.cli import NOT_FOUND, OK, _driver_devices, _extras
from phasescope.cli._output import Terminal
from phasescope.cli._session_args import add_directory, add_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_SPOKEN = {
    "cuda": "torch's allocator on the CUDA device",
    "rocm": "torch's allocator on the ROCm device",
    "mps": "torch's allocator on the MPS device",
    "xpu": "torch's allocator on the XPU device",
    "tensorflow": "TensorFlow's allocator on its device",
    "jax": "JAX's allocator on its device",
    "cpu": "the process's resident memory on the host",
}
_CORES = {_native.COMPILED: "compiled core", _native.PYTHON: "Python core", "unknown": "core not known"}
_SOURCES = (Column("source", right=False), Column("kind", right=False), Column("", right=False))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)
    add_directory(parser)


def run(arguments: argparse.Namespace) -> int:
    report = examine(arguments.dir)
    if arguments.json:
        Terminal().line(json_text(report, indent=2))
    else:
        _show(report)
    return OK if any(place["works"] for place in report["directories"]) else NOT_FOUND


def examine(directory: str | None) -> dict[str, Any]:
    """Return the data of the JSON output."""
    from phasescope.backends import pci
    from phasescope.capture.backend_selection import diagnose
    from phasescope.wire import ring_directories, ring_files

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a framework's warnings at its import are not asked for here
        sources = diagnose()
    accelerator_seen = pci.accelerator_seen()
    return {
        "phasescope": VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "compiled_core": {"in_use": _native.core is not None, "reason": _native.why_not},
        "accelerator_seen": accelerator_seen,
        "sources": [
            {
                "name": source.name,
                "kind": source.kind,
                "works": source.works,
                "reason": source.reason,
                # Whoever has no device is not told to install a driver.
                "remedy": source.remedy if accelerator_seen is not False or source.name == "cpu" else "",
            }
            for source in sources
        ],
        "phases_speak_of": [source.name for source in sources if source.kind == "backend" and source.works],
        "devices": _driver_devices.surveyed_devices(),
        "extras": _extras.installed_extras(),
        "directories": [
            {"path": path, "works": ok, "reason": reason, "free_bytes": _free_bytes(path)}
            for path, ok, reason in ring_directories.describe_directory(directory)
        ],
        "sessions": len(ring_files.find(directory)),
        "sessions_by_core": _by_core(directory),
    }


def _by_core(directory: str | None) -> dict[str, int]:
    """Return how many sessions have which core, by their headers."""
    from phasescope.readers.ring_reader import RingReader
    from phasescope.wire import ring_files
    from phasescope.wire.ring import RingError

    counts: Counter[str] = Counter()
    for path in ring_files.find(directory):
        with contextlib.suppress(OSError, RingError), RingReader.open(path) as reader:
            core = reader.constants.get("core")
            counts[core if core in (_native.COMPILED, _native.PYTHON) else "unknown"] += 1
    return dict(counts)


def _free_bytes(path: str) -> int | None:
    """Return the free room in the file system where this is, or would be made."""
    place = Path(path)
    existing = next((parent for parent in (place, *place.parents) if parent.is_dir()), place)
    try:
        return shutil.disk_usage(existing).free
    except OSError:
        return None


def _show(report: dict[str, Any]) -> None:
    out = Terminal()
    versions = f"phasescope {report['phasescope']}, Python {report['python']}, {report['platform']}"
    out.line(printable(versions), "bold")
    core = report["compiled_core"]
    out.line("with the compiled core" if core["in_use"] else printable(f"with the Python core: {core['reason']}"))
    out.line()
    title, *lines = table(_SOURCES, [_source_cells(source) for source in report["sources"]])
    out.line(title, "bold")
    for source, line in zip(report["sources"], lines, strict=True):
        out.line(line, "green" if source["works"] else "")
        if not source["works"] and source["remedy"]:
            out.line(f"  → {printable(source['remedy'])}", "dim")
    if report["accelerator_seen"] is False:
        out.line("no GPU or other accelerator is seen on this machine: only the host can be measured")
    out.line(f"phases here speak of: {_spoken_of(report['phases_speak_of'])}")
    _driver_devices.show(out, report["devices"])
    _extras.show(out, report["extras"])
    out.line()
    out.line("where live sessions lie", "bold")
    _show_places(out, report["directories"])
    cores = ", ".join(f"{count} with the {_CORES[core]}" for core, count in sorted(report["sessions_by_core"].items()))
    if not report["sessions"]:
        out.line("no session there yet")
        return
    out.line(f"{plural(report['sessions'], 'session')} there{cores and f' ({cores})'}; `phasescope ls` lists them")


def _spoken_of(backends: Sequence[str]) -> str:
    """Say whose memory a phase measures: that of the first of these allocators that the process uses."""
    if not backends:
        return "nothing, since no source of counters works"
    named = ", else ".join(_SPOKEN.get(name, name) for name in backends)
    return named if len(backends) == 1 else f"{named}: the first of these that the training uses"


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
