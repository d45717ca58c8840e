"""Parquet, for pandas, polars and DuckDB: one row an event, a column a key, and the phase in columns of its own.

`metadata` is one column of JSON text, so that nothing is lost: the same file is read back as a recording. Needs
pyarrow.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phasescope.analysis.formatting import elide, printable
from phasescope.recordings import columns
from phasescope.recordings.event_parser import upgraded
from phasescope.recordings.formats import new_file
from phasescope.recordings.line_stream import MissingDependencyError
from phasescope.recordings.source import Problem, Tail
from phasescope.wire.event import EVENT_KEYS, InvalidEventError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from phasescope.recordings.columns import Rows

_ROW_GROUP = 16 * columns.ROWS
_MAX_GROUP_BYTES = 1 << 28
_LONGEST_TEXT = 200
_NEW = frozenset({"timestamp_ns", "metadata"})  # different in each event
_ONCE = frozenset({"context", "metadata"})  # texts that seldom repeat

# What pyarrow raises of a damaged file: also KeyError and the like of names and types that there are not.
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, NotImplementedError, RecursionError)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Written(NamedTuple):
    """How many events were written, and how many have a number that no column has room for."""

    events: int
    unfit: int


def write(batches: Iterable[Rows], path: str | os.PathLike[str], note: Callable[[], Mapping[str, Any]]) -> Written:
    """Write these events. `note` gives a recorder's word about them, asked for when they are read, and kept in the
    file's own metadata.

    The file comes to be under its name when it is whole. Raises OSError and MissingDependencyError.
    """
    pyarrow, parquet = _pyarrow()
    schema = _schema(pyarrow)
    count = unfit = 0
    tables: list[Any] = []
    with new_file(Path(path)) as unfinished:
        repeated = [column for column in columns.COLUMNS if column not in _NEW]
        options = {"compression": "zstd", "use_dictionary": repeated}
        with parquet.ParquetWriter(unfinished, schema, **options) as writer, ThreadPoolExecutor(1) as thread:
            written: Future[None] | None = None
            for rows in batches:
                table = _table_of_fitting(pyarrow, schema, rows)
                tables.append(table)
                count, unfit = count + len(table), unfit + len(rows) - len(table)
                if sum(map(len, tables)) >= _ROW_GROUP or sum(table.nbytes for table in tables) >= _MAX_GROUP_BYTES:
                    if written is not None:
                        written.result()
                    # Writing compresses, which needs no Python: meanwhile the next rows are made.
                    written = thread.submit(writer.write_table, pyarrow.concat_tables(tables))
                    tables = []
            if written is not None:
                written.result()
            if tables:
                writer.write_table(pyarrow.concat_tables(tables))
            writer.add_key_value_metadata({"phasescope": _encode(note()).decode()})
    return Written(count, unfit)


def _schema(pyarrow: Any) -> Any:
    repeated = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())

    def kind(column: str) -> Any:
        if column in _ONCE:
            return pyarrow.string()
        return repeated if column in columns.TEXTS else pyarrow.int64()

    return pyarrow.schema([(column, kind(column)) for column in columns.COLUMNS])


def _table_of_fitting(pyarrow: Any, schema: Any, rows: Rows) -> Any:
    try:
        return _table(pyarrow, schema, rows)
    except (OverflowError, pyarrow.ArrowInvalid):  # seldom: to look at each number first would cost as much again
        return _table(pyarrow, schema, rows.fitting())


def _table(pyarrow: Any, schema: Any, rows: Rows) -> Any:
    integers, count = pyarrow.int64(), len(rows)
    arrays = {}
    places = pyarrow.array(rows.places, pyarrow.int32())
    alike = pyarrow.repeat(pyarrow.scalar(0, pyarrow.int32()), count)
    of_rows = zip(columns.REPEATED, zip(*rows.repeated, strict=True), strict=True)
    of_all = zip(columns.COMMON, ((value,) for value in rows.common), strict=True)
    for where, found in ((alike, of_all), (places, of_rows)):
        for column, values in found:
            if isinstance(schema.field(column).type, pyarrow.DictionaryType):
                arrays[column] = _repeated(pyarrow, values, where)
            else:
                arrays[column] = pyarrow.array(values, schema.field(column).type).take(where)
    for names, having in ((columns.MEASURED, rows.measured), (columns.PHASE, rows.phases)):
        for column, attribute in names.items():
            arrays[column] = pyarrow.array(list(map(attrgetter(attribute), having)), integers)
    arrays["metadata"] = pyarrow.array(rows.metadata, pyarrow.string())
    return pyarrow.Table.from_arrays([arrays[column] for column in columns.COLUMNS], schema=schema)


def _repeated(pyarrow: Any, values: Sequence[str | None], places: Any) -> Any:
    """A dictionary array of the values at these places. Its dictionary is made here: that is several times as fast as
    having pyarrow look for it."""
    texts = [text for text in dict.fromkeys(values) if text is not None]
    numbers: dict[str | None, int] = {text: number for number, text in enumerate(texts)}
    indices = pyarrow.array(list(map(numbers.get, values)), pyarrow.int32())  # of None there is none: it is null
    return pyarrow.DictionaryArray.from_arrays(indices.take(places), pyarrow.array(texts, pyarrow.string()))


class ParquetSource:
    """The events of a Parquet file that `write` made."""

    def __init__(self, path: Path) -> None:
        """Raises MissingDependencyError."""
        self._path = path
        self._pyarrow, self._parquet = _pyarrow()

    def events(self, report: Callable[[Problem], object]) -> Iterator[dict[str, Any]]:
        try:
            with self._parquet.ParquetFile(self._path) as file:
                yield from self._of_file(file, report)
        except (self._pyarrow.ArrowException, *_UNREADABLE) as error:
            self._report(report, None, str(error).partition("\n")[0])

    def _of_file(self, file: Any, report: Callable[[Problem], object]) -> Iterator[dict[str, Any]]:
        note = (file.metadata.metadata or {}).get(b"phasescope")
        if note is not None:
            yield from self._checked([{"note": note}], 0, report)
        names = set(file.schema_arrow.names)
        number = 1
        for batch in file.iter_batches(columns=[key for key in EVENT_KEYS if key in names], batch_size=columns.ROWS):
            yield from self._of_batch(batch, number, report)
            number += len(batch)

    def _of_batch(self, batch: Any, first: int, report: Callable[[Problem], object]) -> Iterator[dict[str, Any]]:
        try:
            rows = batch.to_pylist()
        except ValueError:  # a text in it is none: see which
            for offset in range(len(batch)):
                try:
                    rows = batch.slice(offset, 1).to_pylist()
                except ValueError as error:
                    self._report(report, first + offset, str(error))
                else:
                    yield from self._checked(rows, first + offset, report)
        else:
            yield from self._checked(rows, first, report)

    def _checked(
        self, rows: list[dict[str, Any]], first: int, report: Callable[[Problem], object]
    ) -> Iterator[dict[str, Any]]:
        for offset, row in enumerate(rows):
            try:
                if "note" in row:
                    row = _decode(row["note"])
                elif isinstance(row.get("metadata"), str):
                    row["metadata"] = _decode(row["metadata"])
                yield upgraded(row)
            except (InvalidEventError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self._report(report, first + offset, str(error))

    def _report(self, report: Callable[[Problem], object], row: int | None, text: str) -> None:
        where = "" if row is None else f"row {row}: "
        report(Problem(self._path.name, None, where + elide(printable(text), _LONGEST_TEXT)))

    def tail(self, size_bytes: int) -> Tail | None:
        return None

    def is_being_written(self) -> bool:
        return False


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError("Parquet needs pyarrow: pip install 'phasescope[parquet]'") from error
    return pyarrow, pyarrow.parquet
