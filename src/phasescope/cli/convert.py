"""Write a session in another format: JSONL, Parquet, or a trace for Perfetto or Chrome.

FROM is a pid, a session id, a .ring file or a recording. TO's ending says the format: .jsonl, .jsonl.gz,
.jsonl.zst; .parquet for pandas, polars and DuckDB; .perfetto-trace for ui.perfetto.dev; .json for Chrome's
trace viewer. A trace takes several FROM, the ranks of one job. TO must not exist, and is there when it is whole.
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
    parser.add_argument("sources", nargs="+", metavar="FROM", help="what to read")
    parser.add_argument("target", metavar="TO", help="the file to write")
    add_directory(parser)


def run(arguments: argparse.Namespace) -> int:
    from phasescope.recordings.convert import convert
    from phasescope.wire.ring import RingError

    folder = Path(arguments.target).absolute().parent
    if not folder.is_dir():
        raise CommandError(f"{arguments.target}: there is no folder {folder}")
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(opened(source, arguments.dir)) for source in arguments.sources]
        stack.enter_context(_no_collections())
        try:
            done = convert(readers, arguments.target)
        except ImportError as error:
            raise CommandError(str(error), MISSING_DEPENDENCY) from error
        except RingError:  # `opened` says it
            raise
        except (ValueError, FileExistsError) as error:
            raise CommandError(str(error), WRONG_USAGE) from error
        except OSError as error:
            if error.errno not in _OF_WRITING:  # of reading: `opened` says it
                raise
            raise CommandError(f"{arguments.target}: {os.strerror(error.errno)}") from error
        _report(arguments.target, done, readers)
    return OK


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Millions of objects are made, and no circles of them: looking for those would take a third of the time."""
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
