"""The session that a command speaks of: its arguments, opening it, and saying how it fares."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.formatting import duration_text, printable
from phasescope.cli import MISSING_DEPENDENCY, CommandError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from phasescope.readers.reader import Reader

_SILENT_INTERVALS = 10
_SILENT_NS = 5_000_000_000


class Health(NamedTuple):
    """How a session fares. `silent_ns` is the age of the last heartbeat where that is suspiciously long."""

    state: str
    age_ns: int | None
    heartbeat_ns: int | None
    silent_ns: int | None


def add_target(parser: argparse.ArgumentParser) -> None:
    """The session's own argument, and where to look for it."""
    add_session(parser)
    add_directory(parser)


def add_session(parser: argparse.ArgumentParser) -> None:
    """The session's own argument."""
    parser.add_argument(
        "target",
        nargs="?",
        metavar="SESSION",
        help="a pid, a session id or its beginning, a .ring file, or a recording (run.jsonl, run.jsonl#SESSION); "
        "default: the newest live session",
    )


def add_directory(parser: argparse.ArgumentParser) -> None:
    """Where to look."""
    parser.add_argument("--dir", metavar="DIR", help="look for sessions in this directory only")


@contextlib.contextmanager
def opened(target: str | None, directory: str | None) -> Iterator[Reader]:
    """The session's reader. What can not be found or read ends the command with one line."""
    from phasescope._attach import attach
    from phasescope.readers.reader import SessionNotFoundError
    from phasescope.wire.ring import RingError

    try:
        with attach(target, directory=directory) as reader:
            yield reader
    except BrokenPipeError:
        raise
    except (SessionNotFoundError, RingError) as error:
        place = f"{target}: " if isinstance(error, RingError) and target else ""
        raise CommandError(f"{place}{error}") from error
    except ImportError as error:  # an extra that this file needs; the text has the pip line
        raise CommandError(str(error), MISSING_DEPENDENCY) from error
    except OSError as error:
        raise CommandError(f"{error.filename or target or 'the session'}: {error.strerror or error}") from error


class Moment(NamedTuple):
    """A session as it stood when it was looked at: before its events were read, so that an end is read as well, and
    ages do not count the time that reading takes."""

    state: str
    heartbeat_ns: int | None
    now_ns: int


def moment(reader: Reader) -> Moment:
    """How a reader's session stands now."""
    return Moment(reader.state, reader.heartbeat_ns or None, time.time_ns())


def health(reader: Reader, now_ns: int | None = None) -> Health:
    """How the session fares now, by its lock and its heartbeat."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    state, heartbeat_ns = reader.state, reader.heartbeat_ns or None
    interval_ms = number(reader.constants.get("sampling_interval_ms"))
    started_ns = number(reader.constants.get("started_ns"))
    silent_ns = None
    if state == "running" and heartbeat_ns and interval_ms:
        since_ns = now_ns - heartbeat_ns
        if since_ns > max(_SILENT_NS, _SILENT_INTERVALS * interval_ms * 1_000_000):
            silent_ns = since_ns
    age_ns = None if started_ns is None else max(0, now_ns - started_ns)
    return Health(state, age_ns, heartbeat_ns, silent_ns)


def state_text(fares: Health) -> str:
    """The state in a word or three: `running`, `silent 42.0 s`, `stopped`, `dead`."""
    return fares.state if fares.silent_ns is None else f"silent {duration_text(fares.silent_ns)}"


def number(value: object) -> int | None:
    """The value if it is an int; a session's constants come from a file."""
    return value if type(value) is int else None


def command_line(constants: dict[str, Any]) -> str:
    """The session's command on one line."""
    command = constants.get("command")
    words = command if isinstance(command, list) else [command]
    return " ".join(printable(word) for word in words if isinstance(word, str))
