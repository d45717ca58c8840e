"""Record a running session into a file, from outside, until it ends or Ctrl-C.

It costs the training nothing, and includes the earlier events that its ring still holds. Each line is one
TelemetryEvent v3; .jsonl.gz and .jsonl.zst are compressed. A file is full at an eighth of --max-bytes
and kept as FILE's name with a number; beyond --max-bytes the oldest is removed. An existing recording is
continued. If the command is killed, all lines written until then stay whole.

--dataset writes Parquet files into a folder for the job, the host and the rank, where `phasescope ranks` and any
engine find them: docs/fleets.md. A file appears when it is whole, every --part-seconds; the next command goes on
after the last.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

from phasescope.analysis.formatting import plural, printable, size_text
from phasescope.cli import OK, WRONG_USAGE, CommandError
from phasescope.cli._output import Terminal, complain
from phasescope.cli._quantities import LEAST_RECORDING_BYTES, MOST_RECORDING_BYTES, seconds, size_between
from phasescope.cli._session_args import add_target, number, opened

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from types import FrameType

    from phasescope.recordings.dataset_recorder import DatasetRecorder
    from phasescope.recordings.recorder import Recorder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("-o", "--output", metavar="FILE", help=".jsonl, .jsonl.gz or .jsonl.zst")
    where.add_argument("--dataset", metavar="DIR", help="write DIR/job=…/node=…/r=…/SESSION.00001.parquet, and so on")
    parser.add_argument(
        "--part-seconds",
        type=seconds(zero=False),
        default=600.0,
        metavar="S",
        help="with --dataset: begin a new file every S seconds (default 600)",
    )
    parser.add_argument(
        "--max-bytes",
        type=size_between(LEAST_RECORDING_BYTES, MOST_RECORDING_BYTES),
        default=2**30,
        metavar="SIZE",
        help="the limit of all parts together (default 1GiB)",
    )
    parser.add_argument("--seconds", type=seconds(zero=False), metavar="S", help="end after S seconds")


def run(arguments: argparse.Namespace) -> int:
    from phasescope.recordings.dataset_recorder import DatasetRecorder
    from phasescope.recordings.formats import JSONL, UnknownFormatError, format_of
    from phasescope.recordings.recorder import Recorder

    if arguments.output is not None:
        try:
            if format_of(arguments.output) != JSONL:
                raise CommandError(
                    f"{arguments.output}: record writes JSONL; `phasescope convert` goes on", WRONG_USAGE
                )
        except UnknownFormatError as error:
            wanted = "record writes .jsonl, .jsonl.gz or .jsonl.zst"
            raise CommandError(f"{arguments.output or 'a name that is blank'}: {wanted}", WRONG_USAGE) from error
    with opened(arguments.target, arguments.dir) as reader:
        pid, session_id = number(reader.constants.get("pid")), reader.constants["session_id"]
        recorder: Recorder | DatasetRecorder
        try:
            if arguments.dataset is not None:
                recorder = DatasetRecorder(reader, arguments.dataset, part_seconds=arguments.part_seconds)
            else:
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


def _report(recorder: Recorder | DatasetRecorder) -> None:
    out = Terminal()
    with contextlib.suppress(OSError):
        size = size_text(recorder.size())
        out.line(f"{plural(recorder.events, 'event')} recorded; {printable(str(recorder.path))} takes {size}")
    if recorder.missed:
        out.line(f"{plural(recorder.missed, 'event')} overwritten before they could be read", "yellow")
    if recorder.lost:
        out.line(f"{plural(recorder.lost, 'event')} could not be written", "red")


@contextlib.contextmanager
def _ended_by_signals(recorder: Recorder | DatasetRecorder, seconds: float | None) -> Iterator[None]:
    """End the recording well by Ctrl-C, by a request to end, and after the given time."""

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
