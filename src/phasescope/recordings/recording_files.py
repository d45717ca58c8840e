"""Which file a recording's name means, and how its content is read."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from phasescope.readers.reader import SessionNotFoundError
from phasescope.recordings.formats import ENDINGS, PERFETTO, full_parts, parts
from phasescope.recordings.parquet_source import ParquetSource
from phasescope.recordings.source import JsonlSource, JsonSource

if TYPE_CHECKING:
    from phasescope.recordings.source import RecordingSource


def split_session(path: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Split `run.jsonl#5b0e` into the file and the session, unless there is a file of just that name."""
    text = os.fspath(path)
    name, mark, session = text.rpartition("#")
    if mark and session and not os.path.lexists(text):
        return Path(name), session
    return Path(text), None


def source_of(path: Path) -> RecordingSource:
    """Return the reader for the file's content, not its name; a directory holds the segments of another tool's sink."""
    path = Path(os.path.realpath(path))  # the parts of a recording lie beside the file that a link leads to
    if path.is_dir():
        segments = sorted(path.glob("segment-*.jsonl"))
        if not segments:
            raise SessionNotFoundError(f"{path} is a directory; name one of the recordings in it")
        return JsonlSource(segments)
    if not path.exists() and full_parts(path):
        return JsonlSource(parts(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with path.open("rb") as file:
        beginning = file.read(4)
    if beginning == b"PAR1":
        return ParquetSource([path])
    if _is_perfetto(path, beginning):
        raise SessionNotFoundError(
            f"{path} is a trace for ui.perfetto.dev, which cannot be read back; name the file that it was made of"
        )
    if beginning[:1] == b"[" or path.suffix.lower() == ".json":
        return JsonSource(path)
    return JsonlSource(parts(path))


def _is_perfetto(path: Path, beginning: bytes) -> bool:
    return ENDINGS.get(path.suffix.lower()) == PERFETTO and not beginning.startswith(b"{")
