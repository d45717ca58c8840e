"""Write a session in another format: JSONL, Parquet, or a trace for Perfetto or Chrome.

FROM is a pid, a session id, a .ring file or a recording. TO's ending chooses the format: .jsonl, .jsonl.gz,
.jsonl.zst; .parquet for pandas, polars and DuckDB; .perfetto-trace for ui.perfetto.dev; .json for Chrome's
trace viewer. A trace takes several FROM, the ranks of one job. TO must not exist, and appears when it is complete.

--dataset puts each FROM as Parquet into a folder for its job, host and rank, where any engine finds it: docs/fleets.md.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import plural, printable, size_text
from phasescope.cli import (
    MISSING_DEPENDENCY,
    OK,
    WRONG_USAGE,
    CommandError,
)
from phasescope.cli._output import Terminal
from phasescope.cli._session_args import add_directory, opened

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from phasescope.readers.reader import Reader
    from phasescope.recordings.convert import Converted

_MOST_PROBLEMS = _MOST_OTHERS = 10
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} [-h] [--dir DIR] FROM ... (TO | -o TO | --dataset TO)"
    parser.add_argument("files", nargs="+", metavar="FROM", help="the session to read; the last is TO, without -o")
    parser.add_argument("-o", "--output", metavar="TO", help="the file to write, as in other commands")
    parser.add_argument(
        "--dataset",
        metavar="TO",
        help="write each FROM to TO/job=…/node=…/r=…/SESSION.parquet; one that is there already is left as it is",
    )
    add_directory(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.dataset is not None:
        return _into_dataset(arguments)
    sources, target = _from_and_to(arguments)
    folder = Path(target).absolute().parent
    if not folder.is_dir():
        raise CommandError(f"{target}: there is no folder {folder}")
    _convert(sources, target, arguments.dir)
    return OK


def _into_dataset(arguments: argparse.Namespace) -> int:
    from phasescope.recordings.dataset import place_of

    if arguments.output is not None:
        raise CommandError("-o and --dataset exclude each other", WRONG_USAGE)
    for source in arguments.files:
        with opened(source, arguments.dir) as reader:
            target = Path(arguments.dataset) / place_of(reader.constants)
        if target.exists() or any(target.parent.glob(f"{target.stem}.?????{target.suffix}")):  # converted, or recorded
            Terminal().line(f"{printable(str(target))} is there already", "dim")
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"{printable(str(target.parent))}: {error.strerror or error}") from error
        _convert([source], str(target), arguments.dir)
    return OK


def _convert(sources: Sequence[str], target: str, directory: str | None) -> None:
    from phasescope.recordings.convert import convert
    from phasescope.wire.ring import RingError

    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(opened(source, directory)) for source in sources]
        stack.enter_context(_no_collections())
        try:
            done = convert(readers, target)
        except ImportError as error:
            raise CommandError(str(error), MISSING_DEPENDENCY) from error
        except RingError:  # `opened` says it
            raise
        except (ValueError, FileExistsError) as error:
            raise CommandError(str(error), WRONG_USAGE) from error
        except OSError as error:
            if error.errno not in _OF_WRITING:  # of reading: `opened` says it
                raise
            raise CommandError(f"{target}: {os.strerror(error.errno)}") from error
        _report(target, done, readers)


def _from_and_to(arguments: argparse.Namespace) -> tuple[list[str], str]:
    *sources, last = arguments.files
    if arguments.output is not None:
        return arguments.files, arguments.output
    if not sources:
        raise CommandError(f"convert needs the file to write: phasescope convert {last} TO", WRONG_USAGE)
    return sources, last


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Turn the garbage collector off.

    Millions of objects are made, and no circles of them: looking for those would take a third of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _report(target: str, done: Converted, readers: Sequence[Reader]) -> None:
    out = Terminal()
    out.line(f"{plural(done.events, 'event')} in {printable(target)}, {size_text(Path(target).stat().st_size)}")
    if done.missed:
        out.line(f"{plural(done.missed, 'event')} had been overwritten or removed", "yellow")
    if done.damaged:
        out.line(f"{plural(done.damaged, 'damaged place')} left out", "yellow")
    if done.unfit:
        out.line(
            f"{plural(done.unfit, 'event')} left out: a number in them is beyond the 64 bits of a column", "yellow"
        )
    for reader in readers:
        for problem in reader.problems[:_MOST_PROBLEMS]:
            out.line(printable(str(problem)), "yellow")
        for session_id, count in islice(reader.others.items(), _MOST_OTHERS):
            text = f"{plural(count, 'event')} of session {session_id} left out; {reader.path}#{session_id} names it"
            out.line(printable(text), "yellow")
