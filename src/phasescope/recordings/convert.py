"""From anything that is read to any format that is written."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from phasescope import _native
from phasescope.readers.ring_reader import RingReader
from phasescope.recordings import chrome_trace, packed_rows, parquet, perfetto
from phasescope.recordings.formats import (
    CHROME,
    JSONL,
    PARQUET,
    PERFETTO,
    UnknownFormatError,
    format_of,
    new_file,
)
from phasescope.recordings.jsonl_writer import Writer
from phasescope.recordings.line_text import line_of
from phasescope.recordings.notes import Note
from phasescope.recordings.reader import RecordingReader
from phasescope.recordings.row_batches import of_events, of_ring
from phasescope.recordings.trace_model import Process, Tracer, entered_before

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from phasescope.readers.reader import Reader
    from phasescope.recordings.columns import Rows
    from phasescope.recordings.packed_rows import PackedRows
    from phasescope.recordings.trace_model import Item

_PIDS_FROM = 1 << 22
_UNBOUNDED = 1 << 62
_BATCH_BYTES = 1 << 18


class Converted(NamedTuple):
    """How many events were written, and what the sources could not give, or the format cannot hold."""

    events: int
    missed: int
    damaged: int
    unfit: int = 0


def convert(readers: Sequence[Reader], path: str | os.PathLike[str]) -> Converted:
    """Write the readers' sessions to a new file, in the format that its name stands for.

    A trace takes any number of sessions (the ranks of one job), the other formats one. The file gets its
    name when it is complete. Raises UnknownFormatError, FileExistsError, OSError, MissingDependencyError, and
    ValueError for several sessions in a format that takes one.
    """
    kind = format_of(path)
    if kind not in _WRITERS:
        raise UnknownFormatError(f"{path}: a ring is written by a session only")
    if len(readers) != 1 and kind not in (PERFETTO, CHROME):
        raise ValueError(f"{path}: this format takes one session; a trace (.perfetto-trace, .json) takes several")
    target = Path(path)
    exists = f"{path} exists; remove it or name another file"
    if os.path.lexists(target):
        raise FileExistsError(exists)
    try:
        events, unfit = _WRITERS[kind](readers, target)
    except FileExistsError as error:  # by now
        raise FileExistsError(exists) from error
    missed, damaged = sum(reader.missed for reader in readers), sum(reader.damaged for reader in readers)
    return Converted(events, missed, damaged, unfit)


def _jsonl(readers: Sequence[Reader], path: Path) -> parquet.Written:
    (reader,) = readers
    count, lines, size = 0, [], 0
    with new_file(path) as unfinished:
        writer = Writer(unfinished, lambda: line_of(Note(reader.constants).to_event()), max_bytes=_UNBOUNDED)
        try:
            for event in reader.iter_events():
                lines.append(line_of(event))
                count, size = count + 1, size + len(lines[-1])
                if size >= _BATCH_BYTES:
                    writer.write(b"".join(lines))
                    lines, size = [], 0
            writer.write(b"".join(lines) + line_of(last_note(reader).to_event()))
        finally:
            writer.close()
    return parquet.Written(count, 0)


def _rows(reader: Reader) -> Iterator[Rows | PackedRows]:
    if isinstance(reader, RecordingReader):
        return reader.iter_rows()
    if isinstance(reader, RingReader):
        return of_ring(reader) if _native.core is None else packed_rows.of_ring(reader)
    return of_events(reader.iter_events())


def _parquet(readers: Sequence[Reader], path: Path) -> parquet.Written:
    (reader,) = readers
    return parquet.write(_rows(reader), path, lambda: last_note(reader).to_event())


def _trace(write: Callable[[Iterable[Item], BinaryIO], None]) -> Callable[[Sequence[Reader], Path], parquet.Written]:
    def write_trace(readers: Sequence[Reader], path: Path) -> parquet.Written:
        counted = [0]
        with new_file(path) as unfinished, unfinished.open("wb") as file:
            write(_items(readers, counted), file)
        return parquet.Written(counted[0], 0)

    return write_trace


def _items(readers: Sequence[Reader], counted: list[int]) -> Iterator[Item]:
    keys = count(1)
    pids: set[int] = set()
    others = count(_PIDS_FROM)
    for reader in readers:
        process = _process(reader, next(keys), pids, others)
        before = entered_before(reader.iter_events())
        yield from Tracer(process, keys).items(_counting(reader, counted), before)


def _counting(reader: Reader, counted: list[int]) -> Iterator[dict[str, object]]:
    for event in reader.iter_events():
        counted[0] += 1
        yield event


def _process(reader: Reader, key: int, pids: set[int], others: Iterator[int]) -> Process:
    """Return the process, under another number if its pid is taken: a viewer would take two hosts' for one process."""
    constants = reader.constants
    pid = constants["pid"]
    shown = pid if pid > 0 and pid not in pids else next(others)
    pids.add(shown)
    command = constants.get("command")
    words = tuple(word for word in command if isinstance(word, str)) if isinstance(command, list) else ()
    rank, world_size = constants.get("rank", 0), constants.get("world_size", 1)
    of_job = f"rank {rank} of {world_size}, " if world_size > 1 else ""
    return Process(key, shown, f"{of_job}pid {pid} on {constants['host']}", words)


_WRITERS = {JSONL: _jsonl, PARQUET: _parquet, PERFETTO: _trace(perfetto.write), CHROME: _trace(chrome_trace.write)}


def last_note(reader: Reader) -> Note:
    """Return the note that ends a copy of what the reader gave, once that was read to its end."""
    return Note(
        session=reader.constants,
        missed=reader.missed,
        damaged=reader.damaged,
        dropped=reader.dropped,
        state=reader.state,
        heartbeat_ns=reader.heartbeat_ns,
        end=True,
    )
