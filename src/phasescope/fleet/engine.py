"""DuckDB, looking at some files of a dataset: bounded memory, what does not fit goes to a folder that is removed."""

from __future__ import annotations

import contextlib
import tempfile
from typing import TYPE_CHECKING, Any

from phasescope.recordings.line_stream import MissingDependencyError
from phasescope.recordings.object_store import StoredFile, StoreError
from phasescope.wire.event import EVENT_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from phasescope.recordings.dataset import DataFile, SessionFiles

_MEMORY = "512MB"
_COLUMNS = ", ".join(("place", *EVENT_KEYS))

Row = dict[str, Any]


class UnreadableError(Exception):
    """The engine cannot read these files as a dataset: a column is missing, or one of them is damaged."""


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """Yield an engine. Raises MissingDependencyError."""
    try:
        import duckdb
    except ImportError as error:
        raise MissingDependencyError("the ranks of a dataset need duckdb: pip install 'phasescope[fleet]'") from error
    with tempfile.TemporaryDirectory(prefix="phasescope-") as folder:
        # Nothing is fetched by itself, and no setting of the user's own engine is taken.
        options = {"memory_limit": _MEMORY, "temp_directory": folder, "preserve_insertion_order": False}
        with duckdb.connect(config={**options, "autoinstall_known_extensions": False}) as connection:
            yield Engine(connection, duckdb.Error)


class Engine:
    """Answers queries about the rows of `fleet`: of the files that it looks at."""

    def __init__(self, connection: Any, error: type[Exception]) -> None:
        self._connection = connection
        self._error = error
        self._stores: set[int] = set()

    def look_at(self, sessions: Iterable[SessionFiles]) -> None:
        """Make these sessions' files `fleet`. Raises UnreadableError."""
        files = [file for session in sessions for file in session.files]
        self.reach(files)
        names = ", ".join(_quoted(file.path) for file in files)
        self._do(
            "CREATE OR REPLACE TEMP VIEW fleet AS SELECT *, (file_index << 40) + file_row_number AS place "
            f"FROM read_parquet([{names}], hive_partitioning = false, union_by_name = true)"
        )

    def reach(self, files: Iterable[DataFile]) -> None:
        """Make the stores of these files known to the engine."""
        for file in files:
            if isinstance(file.file, StoredFile) and id(file.file.store.filesystem) not in self._stores:
                self._stores.add(id(file.file.store.filesystem))
                with contextlib.suppress(self._error, ValueError):  # it is there already
                    self._connection.register_filesystem(file.file.store.filesystem)

    def rows(self, query: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """Return the rows that a query gives. Raises UnreadableError."""
        cursor = self._do(query, values)
        names = [each[0] for each in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def events(self, query: str) -> list[Row]:
        """Return whole events, as rows of their keys, and the `place` of each."""
        return self.rows(query.format(columns=_COLUMNS))

    def notes(self, files: Iterable[str]) -> list[tuple[str, bytes]]:
        """Return what recorders said in files, by their paths: only the files' own metadata are read."""
        by_name = {_bare(file): file for file in files}
        names = ", ".join(map(_quoted, by_name.values()))
        cursor = self._do(
            f"SELECT file_name, value FROM parquet_kv_metadata([{names}]) WHERE CAST(key AS VARCHAR) = 'phasescope'"
        )
        values = ((by_name.get(_bare(str(name))), bytes(value)) for name, value in cursor.fetchall())
        return [(file, value) for file, value in values if file is not None]

    def take(self, name: str, columns: Mapping[str, str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Make a small table, for a query to join."""
        described = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        self._do(f"CREATE OR REPLACE TEMP TABLE {name} ({described})")
        if rows:
            marks = ", ".join("?" * len(columns))
            self._connection.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)

    def _do(self, query: str, values: Mapping[str, Any] | None = None) -> Any:
        try:
            return self._connection.execute(query, values)
        except StoreError:
            raise
        except self._error as error:
            raise UnreadableError(str(error).partition("\n")[0]) from error


def _bare(path: str) -> str:
    """Return a path on a store without its scheme, which an engine may leave out."""
    return path.rpartition("://")[2].lstrip("/")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
