"""The live sessions that a command follows: one, those of a job, or all as they come and go."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

from phasescope.analysis.formatting import printable
from phasescope.cli import NOT_FOUND, WRONG_USAGE, CommandError
from phasescope.cli._session_args import add_directories, add_session, note_missing, opened_among

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import FrameType

    from phasescope.exporters.live_sessions import LiveSessions


def add_which(parser: argparse.ArgumentParser) -> None:
    """Add which sessions are meant."""
    add_session(parser)
    add_directories(parser)
    parser.add_argument("--job", metavar="ID", help="the sessions of this job, by its job id, as they come and go")
    parser.add_argument("--all", action="store_true", help="every session of this user, as they come and go")


def check_which(arguments: argparse.Namespace) -> None:
    """Refuse what names sessions in two ways."""
    if (arguments.target is not None) + (arguments.job is not None) + arguments.all > 1:
        raise CommandError("SESSION, --job and --all exclude each other", WRONG_USAGE)


def live_sessions(arguments: argparse.Namespace, command: str, **limits: Any) -> LiveSessions:
    """Return the sessions that the arguments of this command name; `limits` are those of `LiveSessions`."""
    from phasescope.exporters.live_sessions import LiveSessions

    if arguments.all or arguments.job is not None:
        note_missing(arguments.dir)
        return LiveSessions(lambda: _rings(arguments.dir), _of_job(arguments.job), **limits)
    with opened_among(arguments.target, arguments.dir) as reader:
        path, state = reader.path, reader.state
        if path is None or path.suffix != ".ring":
            raise CommandError(f"{printable(str(path))} is a recording: {command} takes live sessions", WRONG_USAGE)
        if state != "running":
            raise CommandError(f"{printable(str(path))} is over ({state}): {command} takes live sessions", NOT_FOUND)
    return LiveSessions(lambda: [path], **limits)


def pause_s(behind: bool) -> float:
    """Return how long to wait before the sessions are read again: hardly, while events are left to read."""
    return 0.002 if behind else 0.25


def _rings(directories: list[str]) -> Iterator[Path]:
    from phasescope.wire import ring_files

    for directory in directories or (None,):
        yield from ring_files.find(directory)


def _of_job(job_id: str | None) -> Callable[[Mapping[str, Any]], bool]:
    return lambda constants: job_id is None or constants.get("job_id") == job_id


@contextlib.contextmanager
def ended_by_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and a request to end set."""
    ended = threading.Event()

    def end(signum: int, frame: FrameType | None) -> None:
        ended.set()

    before: dict[int, Any] = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
