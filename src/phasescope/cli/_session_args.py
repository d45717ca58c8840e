"""The session that a command speaks of: its arguments, opening it, and saying how it is doing."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from phasescope.analysis.formatting import duration_text
from phasescope.analysis.liveness import silence_ns
from phasescope.cli import MISSING_DEPENDENCY, CommandError
from phasescope.cli._output import complain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from phasescope.readers.reader import Reader


_MOST_NAMED = 4
LIVE_FIRST = "the live session started last, or, if none is alive, the one started last"
"""The session that a command takes if none is named."""


class SessionHealth(NamedTuple):
    """The state of a session. `silent_ns` is the age of the last heartbeat if that is suspiciously long."""

    state: str
    age_ns: int | None
    heartbeat_ns: int | None
    silent_ns: int | None


def add_target(parser: argparse.ArgumentParser, default: str = LIVE_FIRST) -> None:
    """Add the session's own argument, and where to look for it. `default` says which it is without one."""
    add_session(parser, default)
    add_directory(parser)


def add_session(parser: argparse.ArgumentParser, default: str = LIVE_FIRST) -> None:
    """Add the session's own argument."""
    parser.add_argument(
        "target",
        nargs="?",
        metavar="SESSION",
        help="a pid, a session id or its beginning, a .ring file, or a recording (run.jsonl, run.jsonl#SESSION), "
        "or a rank of a dataset (fleet#r=3); "
        f"default: {default}",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json` to a command whose text is one answer."""
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def add_directory(parser: argparse.ArgumentParser) -> None:
    """Add where to look."""
    parser.add_argument("--dir", metavar="DIR", help="search for sessions in this directory only")


@contextlib.contextmanager
def opened(target: str | None, directory: str | None) -> Iterator[Reader]:
    """Open the session's reader. A session that cannot be found or read ends the command with one line."""
    from phasescope._attach import attach
    from phasescope.readers.reader import SessionNotFoundError
    from phasescope.recordings.object_store import StoreError
    from phasescope.wire.ring import RingError

    try:
        with attach(target, directory=directory) as reader:
            yield reader
    except BrokenPipeError:
        raise
    except SessionNotFoundError as error:
        raise CommandError(_of_job(target, directory) or str(error)) from error
    except RingError as error:
        raise CommandError(f"{f'{target}: ' if target else ''}{error}") from error
    except ImportError as error:  # an extra that this file needs; the text has the pip line
        raise CommandError(str(error), MISSING_DEPENDENCY) from error
    except StoreError as error:  # its text names the store, without what is secret in a URL
        raise CommandError(error.strerror or str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or target or 'the session'}: {error.strerror or error}") from error


def _of_job(target: str | None, directory: str | None) -> str | None:
    """Return the way out for the id of a job where that of a session is wanted; None if it is not a job's either."""
    from phasescope.views.catalogue import Catalogue

    if not target:
        return None
    catalogue = Catalogue([] if directory is None else [directory])
    for job in catalogue.jobs():
        job_id = job[0].constants.get("job_id")
        if isinstance(job_id, str) and (job_id == target or (job_id.startswith(target) and not target.isdecimal())):
            pids = ", ".join(str(entry.constants.get("pid")) for entry in job[:_MOST_NAMED])
            what = f'"{target}" is a job, not a session; its sessions: pid {pids}{", ..." if job[_MOST_NAMED:] else ""}'
            return what if len(job) < 2 else f"{what}; `phasescope ranks --job {target}` compares them"
    return None


def add_directories(parser: argparse.ArgumentParser) -> None:
    """Add where to look, in as many places as are named."""
    parser.add_argument(
        "--dir",
        metavar="DIR",
        action="append",
        default=[],
        help="search for sessions in this directory only; may be given more than once, as for the ranks of one job",
    )


def note_missing(directories: Sequence[str]) -> None:
    """Say which directories are missing, for a view that waits: one may come, and may be mistyped."""
    for directory in directories:
        if not Path(directory).is_dir():
            complain(f"--dir {directory}: there is no such directory yet")


@contextlib.contextmanager
def opened_among(target: str | None, directories: Sequence[str]) -> Iterator[Reader]:
    """Open the session's reader, wherever it lies; of several the one started last, running ones first.

    A session that cannot be found or read ends the command with one line.
    """
    with contextlib.ExitStack() as kept:
        readers: list[Reader] = []
        failed: CommandError | None = None
        for directory in directories or (None,):
            try:
                readers.append(kept.enter_context(opened(target, directory)))
            except CommandError as error:
                failed = failed or error
        if not readers:
            raise failed or CommandError("no session")
        yield max(readers, key=_preference)


def _preference(reader: Reader) -> tuple[bool, int]:
    return reader.state == "running", number(reader.constants.get("started_ns")) or 0


def health(reader: Reader, now_ns: int | None = None) -> SessionHealth:
    """Return the session's state now, by its lock and its heartbeat."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    state, heartbeat_ns = reader.state, reader.heartbeat_ns or None
    interval_ms = number(reader.constants.get("sampling_interval_ms"))
    started_ns = number(reader.constants.get("started_ns"))
    silent_ns = silence_ns(state, heartbeat_ns, interval_ms, now_ns)
    age_ns = None if started_ns is None else max(0, now_ns - started_ns)
    return SessionHealth(state, age_ns, heartbeat_ns, silent_ns)


def state_text(condition: SessionHealth) -> str:
    """Return the state in a word or three: `running`, `silent 42.0 s`, `stopped`, `dead`."""
    return condition.state if condition.silent_ns is None else f"silent {duration_text(condition.silent_ns)}"


def number(value: object) -> int | None:
    """Return the value if it is an int; a session's constants come from a file."""
    return value if type(value) is int else None
