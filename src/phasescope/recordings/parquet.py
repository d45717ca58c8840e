"""Parquet, for pandas, polars and DuckDB: one row an event, a column a key, and the phase in columns of its own.

`metadata` is one column of JSON text, so that nothing is lost: the same file is read back as a recording. Needs
pyarrow.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phasescope.recordings import columns
from phasescope.recordings.formats import new_file
from phasescope.recordings.line_stream import MissingDependencyError
from phasescope.recordings.packed_rows import GROUP_ROWS, PackedRows

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from phasescope.recordings.columns import Rows

_END_ROWS = 256
_UNFINISHED = ".unfinished"  # what is cut off by a kill must not be found by `*.parquet`
_MAX_GROUP_BYTES = 1 << 28
_RISING = ("timestamp_ns", *columns.LINKS)  # different in each event, and mostly a little more than before
_NEW = frozenset({"metadata", *_RISING})
_ONCE = frozenset({"context", "metadata"})  # texts that seldom repeat

WRITTEN_WITH: Mapping[str, Any] = {
    "compression": "zstd",
    "use_dictionary": [column for column in columns.COLUMNS if column not in _NEW],
    "column_encoding": dict.fromkeys(_RISING, "DELTA_BINARY_PACKED"),
}
"""How pyarrow is to write a table of these columns."""

_encode = msgspec.json.Encoder().encode


class Written(NamedTuple):
    """How many events were written, and how many have a number that no column has room for."""

    events: int
    unfit: int


def write(
    batches: Iterable[Rows | PackedRows], path: str | os.PathLike[str], note: Callable[[], Mapping[str, Any]]
) -> Written:
    """Write these events. `note` gives a recorder's word about them, asked for when they are read, and kept in the
    file's own metadata.

    The file gets its name when it is complete. Raises OSError and MissingDependencyError.
    """
    pyarrow, parquet = pyarrow_modules()
    schema = schema_of(pyarrow)
    count = unfit = 0
    held: list[Any] = []
    first = _END_ROWS
    with new_file(Path(path), _UNFINISHED) as unfinished:
        with parquet.ParquetWriter(unfinished, schema, **WRITTEN_WITH) as writer, ThreadPoolExecutor(1) as thread:
            written: Future[None] | None = None
            for rows in batches:
                table = table_of(pyarrow, schema, rows)
                held.append(table)
                count, unfit = count + len(table), unfit + rows.unfit + len(rows) - len(table)
                most = first or GROUP_ROWS
                size = sum(map(len, held))
                if size >= most + _END_ROWS or sum(table.nbytes for table in held) >= _MAX_GROUP_BYTES:
                    if written is not None:
                        written.result()
                    together = pyarrow.concat_tables(held)
                    taken = min(most, max(1, size - _END_ROWS))
                    # Writing compresses, which needs no Python: meanwhile the next rows are made.
                    written = thread.submit(writer.write_table, together.slice(0, taken))
                    # A slice of the rows to come would keep all of them: so they are copied.
                    held, first = [together.slice(taken).take(pyarrow.array(range(size - taken)))], 0
                    del table, rows, together
            if written is not None:
                written.result()
            if held:
                for group in groups(pyarrow.concat_tables(held), first):
                    writer.write_table(group)
            writer.add_key_value_metadata({"phasescope": _encode(note()).decode()})
    return Written(count, unfit)


def groups(table: Any, first: int = _END_ROWS) -> Iterator[Any]:
    """Yield the row groups of what is left to write: small ones for the first rows and the last, which is where a
    session says how it began and ended. Who wants to know that reads no more."""
    first = min(first, len(table))
    last = max(first, len(table) - _END_ROWS)
    edges = [0, first, *range(first + GROUP_ROWS, last, GROUP_ROWS), last, len(table)]
    for begin, end in pairwise(edges):
        if end > begin:
            yield table.slice(begin, end - begin)


def schema_of(pyarrow: Any) -> Any:
    """Return the schema of all tables."""
    repeated = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())

    def kind(column: str) -> Any:
        if column in _ONCE:
            return pyarrow.string()
        return repeated if column in columns.TEXTS else pyarrow.int64()

    return pyarrow.schema([(column, kind(column)) for column in columns.COLUMNS])


def table_of(pyarrow: Any, schema: Any, rows: Rows | PackedRows) -> Any:
    """Return the rows as a table, without those that have a number beyond 64 bits."""
    if isinstance(rows, PackedRows):
        return _packed_table(pyarrow, schema, rows)
    try:
        return _table(pyarrow, schema, rows)
    except (OverflowError, pyarrow.ArrowInvalid):  # seldom: to look at each number first would cost as much again
        return _table(pyarrow, schema, rows.fitting())


def _table(pyarrow: Any, schema: Any, rows: Rows) -> Any:
    integers = pyarrow.int64()
    arrays = _alike(pyarrow, schema, rows, pyarrow.array(rows.places, pyarrow.int32()))
    for names, having in ((columns.MEASURED, rows.measured), (columns.PHASE, rows.phases)):
        for column, attribute in names.items():
            arrays[column] = pyarrow.array(list(map(attrgetter(attribute), having)), integers)
    session_id = rows.common[columns.COMMON.index("session_id")]
    for column, links in columns.links_of(rows.phases, session_id).items():
        arrays[column] = pyarrow.array(links, integers)
    arrays["metadata"] = pyarrow.array(rows.metadata, pyarrow.string())
    return pyarrow.Table.from_arrays([arrays[column] for column in columns.COLUMNS], schema=schema)


def _packed_table(pyarrow: Any, schema: Any, rows: PackedRows) -> Any:
    """Return the same of rows in buffers, which are taken as they are."""
    count = len(rows)
    if not count:
        return schema.empty_table()
    places, *figures, ends, texts = map(pyarrow.py_buffer, rows.buffers)
    bitmaps = dict(zip(columns.MAYBE, figures[len(columns.FIGURES) :], strict=True))
    taken = pyarrow.Array.from_buffers(pyarrow.int32(), count, [None, places])
    arrays = _alike(pyarrow, schema, rows, taken)
    for column, numbers in zip(columns.FIGURES, figures, strict=False):
        arrays[column] = pyarrow.Array.from_buffers(pyarrow.int64(), count, [bitmaps.get(column), numbers])
    arrays["metadata"] = pyarrow.Array.from_buffers(pyarrow.string(), count, [None, ends, texts])
    return pyarrow.Table.from_arrays([arrays[column] for column in columns.COLUMNS], schema=schema)


def _alike(pyarrow: Any, schema: Any, rows: Rows | PackedRows, places: Any) -> dict[str, Any]:
    """Return the columns that all rows have in common, and those that repeat."""
    arrays = {}
    alike = pyarrow.repeat(pyarrow.scalar(0, pyarrow.int32()), len(rows))
    of_rows = zip(columns.REPEATED, zip(*rows.repeated, strict=True), strict=True)
    of_all = zip(columns.COMMON, ((value,) for value in rows.common), strict=True)
    for where, pairs in ((alike, of_all), (places, of_rows)):
        for column, values in pairs:
            if isinstance(schema.field(column).type, pyarrow.DictionaryType):
                arrays[column] = _repeated(pyarrow, values, where)
            else:
                arrays[column] = pyarrow.array(values, schema.field(column).type).take(where)
    return arrays


def _repeated(pyarrow: Any, values: Sequence[str | None], places: Any) -> Any:
    """Return a dictionary array of the values at these places. Its dictionary is made here: that is several times as
    fast as having pyarrow look for it."""
    texts = [text for text in dict.fromkeys(values) if text is not None]
    numbers: dict[str | None, int] = {text: number for number, text in enumerate(texts)}
    indices = pyarrow.array(list(map(numbers.get, values)), pyarrow.int32())  # None has no index: it is null
    return pyarrow.DictionaryArray.from_arrays(indices.take(places), pyarrow.array(texts, pyarrow.string()))


def pyarrow_modules() -> tuple[Any, Any]:
    """Return `pyarrow` and `pyarrow.parquet`. Raises MissingDependencyError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError("Parquet needs pyarrow: pip install 'phasescope[parquet]'") from error
    return pyarrow, pyarrow.parquet
