"""Record a running session into a file, from outside, until it ends or Ctrl-C.

The training pays nothing for it and need not be told: what its ring still holds is taken as well. One
TelemetryEvent v3 a line; .jsonl.gz and .jsonl.zst are compressed. A file is full at an eighth of --max-bytes
and kept as FILE's name with a number; beyond --max-bytes the oldest is removed. A recording that is there
already is continued. Whatever kills the command, all lines written until then stay whole.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import threading
from typing import TYPE_CHECKING, Any

from phasescope.analysis.formatting import plural, printable, size_text
from phasescope.cli import OK, WRONG_USAGE, CommandError
from phasescope.cli._output import Terminal, complain
from phasescope.cli._session_args import add_target, number, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from phasescope.recordings.recorder import Recorder

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmgt]?i?)b?", re.IGNORECASE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help=".jsonl, .jsonl.gz or .jsonl.zst")
    parser.add_argument(
        "--max-bytes", type=_size, default=2**30, metavar="SIZE", help="of all parts together (default 1GiB)"
    )
    parser.add_argument("--seconds", type=_seconds, metavar="S", help="end after so long")


def run(arguments: argparse.Namespace) -> int:
    from phasescope.recordings.formats import JSONL, UnknownFormatError, format_of
    from phasescope.recordings.recorder import Recorder

    try:
        if format_of(arguments.output) != JSONL:
            raise CommandError(f"{arguments.output}: record writes JSONL; `phasescope convert` goes on", WRONG_USAGE)
    except UnknownFormatError as error:
        wanted = "record writes .jsonl, .jsonl.gz or .jsonl.zst"
        raise CommandError(f"{arguments.output or 'a name that is blank'}: {wanted}", WRONG_USAGE) from error
    with opened(arguments.target, arguments.dir) as reader:
        pid, session_id = number(reader.constants.get("pid")), reader.constants["session_id"]
        try:
            recorder = Recorder(reader, arguments.output, max_bytes=arguments.max_bytes)
        except FileExistsError as error:
            raise CommandError(str(error), WRONG_USAGE) from error
        with _ended_by_signals(recorder, arguments.seconds):
            place = printable(str(recorder.path))
            Terminal().line(f"recording session {printable(session_id)} of pid {pid} to {place}; Ctrl-C ends it")
            if recorder.remark is not None:
                complain(recorder.remark)
            recorder.run()
    _report(recorder)
    return OK


def _report(recorder: Recorder) -> None:
    out = Terminal()
    with contextlib.suppress(OSError):
        size = size_text(recorder.path.stat().st_size)
        out.line(f"{plural(recorder.events, 'event')} recorded; {printable(str(recorder.path))} takes {size}")
    if recorder.missed:
        out.line(f"{plural(recorder.missed, 'event')} overwritten before they could be read", "yellow")
    if recorder.lost:
        out.line(f"{plural(recorder.lost, 'event')} could not be written", "red")


@contextlib.contextmanager
def _ended_by_signals(recorder: Recorder, seconds: float | None) -> Iterator[None]:
    """Ctrl-C, a request to end, and the time that was given: each ends the recording well."""

    def end(signum: int, frame: FrameType | None) -> None:
        recorder.stop()

    before: dict[int, Any] = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    timer = None if seconds is None else threading.Timer(seconds, recorder.stop)
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match["number"]) * _UNITS[match["unit"].lower()]) if match and match["unit"].lower() != "i" else 0
    if not 1 << 20 <= size <= 1 << 50:
        raise argparse.ArgumentTypeError(f"{text!r} is no size of 1 MiB and more, such as 500MB or 2GiB")
    return size


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds
