"""Parquet, for pandas, polars and DuckDB: one row an event, a column a key, and the phase in columns of its own.

`metadata` is one column of JSON text, so that nothing is lost: the same file is read back as a recording. Needs
pyarrow.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from phasescope.analysis.text import elide, printable
from phasescope.event import EVENT_KEYS, InvalidEventError
from phasescope.recording import columns
from phasescope.recording.events import upgraded
from phasescope.recording.lines import MissingDependencyError
from phasescope.recording.source import Problem, Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from phasescope.recording.columns import Rows

_ROW_GROUP = 16 * columns.ROWS
_LONGEST_TEXT = 200
_NEW = frozenset({"timestamp_ns", "metadata"})  # different in each event
_ONCE = frozenset({"context", "metadata"})  # texts that seldom repeat

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def write(batches: Iterable[Rows], path: str | os.PathLike[str], note: Callable[[], Mapping[str, Any]]) -> int:
    """Write these events; how many there were. `note` gives a recorder's word about them, asked for when they
    are read, and kept in the file's own metadata.

    The file comes to be under its name when it is whole. Raises OSError and MissingDependencyError.
    """
    pyarrow, parquet = _pyarrow()
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    schema = _schema(pyarrow)
    count = 0
    tables: list[Any] = []
    try:
        unfinished.touch(mode=0o600)  # pyarrow would let everybody read it
        repeated = [column for column in columns.COLUMNS if column not in _NEW]
        options = {"compression": "zstd", "use_dictionary": repeated}
        with parquet.ParquetWriter(unfinished, schema, **options) as writer, ThreadPoolExecutor(1) as thread:
            written: Future[None] | None = None
            for rows in batches:
                tables.append(_table(pyarrow, schema, rows))
                count += len(rows)
                if sum(map(len, tables)) >= _ROW_GROUP:
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
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _schema(pyarrow: Any) -> Any:
    repeated = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())

    def kind(column: str) -> Any:
        if column in _ONCE:
            return pyarrow.string()
        return repeated if column in columns.TEXTS else pyarrow.int64()

    return pyarrow.schema([(column, kind(column)) for column in columns.COLUMNS])


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
        except (self._pyarrow.ArrowException, OSError) as error:  # pyarrow raises OSError for damaged pages
            self._report(report, None, str(error).partition("\n")[0])

    def _of_file(self, file: Any, report: Callable[[Problem], object]) -> Iterator[dict[str, Any]]:
        note = (file.metadata.metadata or {}).get(b"phasescope")
        if note is not None:
            yield from self._checked([{"note": note}], 0, report)
        names = set(file.schema_arrow.names)
        number = 1
        for batch in file.iter_batches(columns=[key for key in EVENT_KEYS if key in names], batch_size=columns.ROWS):
            rows = batch.to_pylist()
            yield from self._checked(rows, number, report)
            number += len(rows)

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
            except (InvalidEventError, msgspec.DecodeError) as error:
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
