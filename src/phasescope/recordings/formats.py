"""Which file is what: the formats by their endings, and the parts that a recording was rotated into."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from phasescope import _os_compat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

JSONL, PARQUET, PERFETTO, CHROME, RING = "jsonl", "parquet", "perfetto", "chrome", "ring"

ENDINGS: Mapping[str, str] = {
    ".jsonl": JSONL,
    ".jsonl.gz": JSONL,
    ".jsonl.zst": JSONL,
    ".parquet": PARQUET,
    ".perfetto-trace": PERFETTO,
    ".pftrace": PERFETTO,
    ".json": CHROME,
    ".ring": RING,
}

_PART = re.compile(r"(?P<stem>.+)\.(?P<number>\d{1,9})(?P<ending>\.jsonl(?:\.gz|\.zst)?)", re.DOTALL)
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class UnknownFormatError(ValueError):
    """The file's name ends in nothing that says how to write it; the text lists what does."""


def for_its_user_alone(path: str, flags: int) -> int:
    """Return the opener of a new file that holds what a session does: `open(path, "xb", opener=for_its_user_alone)`."""
    return os.open(path, flags, 0o600)


def real_path(path: str | os.PathLike[str]) -> Path:
    """Return where the file really lies, whichever directory the process goes to later.

    A recording that is named by a link is rotated beside the file that it leads to. Raises PermissionError for another
    user's link.
    """
    try:
        status = os.lstat(path)
    except OSError:
        status = None
    if status is not None and stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, _os_compat.user_id()):
        raise PermissionError(errno.EPERM, f"a link of user {status.st_uid}; name the file itself", os.fspath(path))
    return Path(os.path.realpath(path))


@contextlib.contextmanager
def new_file(path: Path, ending: str | None = None) -> Iterator[Path]:
    """Make a file of another name, for its user alone, that is renamed to `path` when it is complete, and is gone
    where it is not. Raises FileExistsError if there is something at `path` by then, and OSError.

    `ending` is that of the other name: by default the same, which says how it is compressed."""
    ending = split_ending(path)[1] if ending is None else ending
    unfinished = path.with_name(f".{os.getpid()}-{os.urandom(4).hex()}{ending}")
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        yield unfinished
        try:
            os.link(unfinished, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            move_new(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def move_new(source: Path, target: Path) -> None:
    """Rename a file to a name that nothing has. Raises FileExistsError if something has it, and OSError.

    An empty file takes the name first: that is the one that is renamed over. Hard links would do as well, but not on
    every file system, and a kill between two calls would leave the file under both names.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        source.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            target.unlink()
        raise


def format_of(path: str | os.PathLike[str]) -> str:
    """Return the format that a file's ending stands for. Raises UnknownFormatError."""
    name = Path(path).name.lower()
    ending = next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if name.endswith(ending)), None)
    if ending is None:
        endings = ", ".join(ending for ending, kind in ENDINGS.items() if kind != RING)
        raise UnknownFormatError(f"{path}: unknown file extension; use one of {endings}")
    return ENDINGS[ending]


def compression_of(path: str | os.PathLike[str]) -> str | None:
    """Return the compression of a new file by its name: `gz`, `zst` or None."""
    name = Path(path).name.lower()
    return "gz" if name.endswith(".gz") else "zst" if name.endswith(".zst") else None


def compression_in(beginning: bytes) -> str | None:
    """Return the compression of an existing file by its first bytes, whatever its name: `gz`, `zst` or None."""
    return "gz" if beginning.startswith(_GZIP) else "zst" if beginning.startswith(_ZSTD) else None


def split_ending(path: Path) -> tuple[str, str]:
    """Split `run.jsonl.gz` into `run` and `.jsonl.gz`; any other name at its last ending."""
    for ending in (".jsonl.gz", ".jsonl.zst", ".jsonl"):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)], path.name[-len(ending) :]
    return path.stem, path.suffix


def part_path(path: Path, number: int) -> Path:
    """Return the name of the full part of this number: `run.jsonl` leaves `run.1.jsonl`, `run.2.jsonl`, … behind."""
    stem, ending = split_ending(path)
    return path.with_name(f"{stem}.{number}{ending}")


def full_parts(path: Path) -> list[tuple[int, Path]]:
    """Return the full parts that are left of a recording, the oldest first, without the file that is written now."""
    stem, ending = split_ending(path)
    parts = []
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []
    for name in names:
        match = _PART.fullmatch(name)
        if match is not None and match["stem"] == stem and match["ending"] == ending:
            parts.append((int(match["number"]), path.with_name(name)))
    return sorted(parts)


def parts(path: Path) -> list[Path]:
    """Return all files of a recording in the order of writing. A numbered part stands for itself alone."""
    whole = [part for _, part in full_parts(path)]
    return [*whole, path] if path.exists() or not whole else whole


def find(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the recordings in a folder, each once however many parts it has, in the order of their names."""
    recordings = set()
    for entry in Path(folder).iterdir():
        if not entry.is_file() or not entry.name.lower().endswith((".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")):
            continue
        match = _PART.fullmatch(entry.name)
        whole = entry.with_name(match["stem"] + match["ending"]) if match is not None else entry
        recordings.add(whole if match is None or whole.exists() else entry)
    return sorted(recordings)
