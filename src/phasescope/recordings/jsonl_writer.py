"""Write a recording: one TelemetryEvent v3 a line, plain, gzip or zstd, rotated by size, bounded as a whole.

A batch of lines is one write of whole lines (compressed: whole blocks), so a kill leaves at most the end of the last
one torn. A batch that a full disk cut short is removed and tried again. If a part cannot go on (it was
removed, moved, cut or written into, or it could not be put away) the next one begins. Nothing that is not this
recording's own is written to, renamed or removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from phasescope.recordings.compressors import compressor
from phasescope.recordings.existing_files import is_own_part, sound_end
from phasescope.recordings.formats import (
    compression_of,
    full_parts,
    move_new,
    part_path,
    real_path,
    split_ending,
)
from phasescope.recordings.open_file import OpenFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIN_BYTES = 1 << 20
MAX_BYTES = 1 << 50
DEFAULT_BYTES = 1 << 30
"""What all parts of a recording may take together."""

_PARTS = 8
_MOST_NAMES = 10_000  # tried where a directory cannot be listed


class Writer:
    """One recording that is being written. One thread at a time. What is written at once should not pass `part_bytes`.

    `begin()` gives the lines that each part begins with, so that it can be read without those before it. `path` is
    where the recording is written: another one than at first where something else has taken its place meanwhile.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        begin: Callable[[], bytes],
        *,
        max_bytes: int = DEFAULT_BYTES,
        part_bytes: int | None = None,
    ) -> None:
        """Begin or go on with the recording at `path`. Raises OSError, NotARecordingError, RecordingInUseError and
        MissingDependencyError."""
        self.path = real_path(path)
        self._begin = begin
        self._max_bytes = max_bytes
        self.part_bytes = part_bytes or max_bytes // _PARTS
        self._kind = compression_of(self.path)
        self._kept: dict[int, Path] = {}
        self._part: _RecordingPart | None = None
        self._last: _RecordingPart | None = None  # ended, and still under the recording's name
        compressor(self._kind)  # what it needs is missing now or never
        self._part = self._continue()
        self.is_open_to_others = self._part.file.is_open_to_others

    def write(self, lines: bytes) -> None:
        """Add whole lines. Raises OSError, and has written nothing then."""
        self._ready(len(lines) if self._kind is None else 0).append(lines)

    def close(self) -> None:
        """End the file well. Raises OSError."""
        part, self._part = self._part, None
        if part is not None:
            part.end()

    def abandon(self) -> None:
        """Let go of the file and add nothing to it: in a forked child, or where writing has failed for good."""
        part, self._part = self._part, None
        if part is not None:
            part.file.close()

    def _continue(self) -> _RecordingPart:
        """Return the recording that is there, or a new one."""
        try:
            file = OpenFile(self.path, is_new=True)
        except FileExistsError:
            file = OpenFile(self.path, is_new=False)
        try:
            size = sound_end(file)
            part = _RecordingPart(file, self._kind, size)
            if size and self._kind is not None:  # its last block may be torn: nothing can follow in the same file
                file.close()
                self._last = part
                return self._new_part()
            file.cut(size)
            part.begin(self._begin())
        except BaseException:
            file.close()
            raise
        return part

    def _ready(self, count: int) -> _RecordingPart:
        """Return a part with room for that many more bytes."""
        if self._part is not None and not self._part.is_held():
            self._part, self._last = None, self._part
        if self._part is not None and not self._part.file.is_in_place():
            self._part = self._elsewhere(self._part)
        part = self._part
        if part is not None and (part.is_broken() or (part.has_events and part.size + count > self.part_bytes)):
            self._part, self._last = None, part
            with contextlib.suppress(OSError):  # all of its lines are there, its end only is not
                part.end()
        if self._part is None:
            self._part = self._new_part()
        return self._part

    def _elsewhere(self, part: _RecordingPart) -> _RecordingPart:
        """Return the next part where this one was moved or removed. One that only was moved, its directory perhaps, or
        that is out of sight, as after chroot, is kept if no other can be had. Raises OSError."""
        try:
            new = self._new_part()
        except OSError:
            if part.file.is_removed():
                raise
            return part
        with contextlib.suppress(OSError):
            part.end()
        return new

    def _new_part(self) -> _RecordingPart:
        """Return the next part, under the recording's name, which the last one gives up for a number."""
        last = self._last
        if last is not None and last.has_events and last.file.is_in_place():
            self._keep()
        self._remove_old()
        file = self._new_file()
        try:
            part = _RecordingPart(file, self._kind, 0)
            part.begin(self._begin())
        except BaseException:
            self._last = _RecordingPart(file, self._kind, 0)  # there is nothing in it, so the next try takes it
            file.close()
            raise
        self._last = None
        return part

    def _new_file(self) -> OpenFile:
        with contextlib.suppress(FileExistsError):
            return OpenFile(self.path, is_new=True)
        file = self._emptied()
        if file is not None:
            return file
        for path in _neighbours(self.path):
            with contextlib.suppress(FileExistsError):
                file = OpenFile(path, is_new=True)
                self.path = path
                return file
        raise FileExistsError(errno.EEXIST, "there is another file in its place", str(self.path))

    def _emptied(self) -> OpenFile | None:
        """Return the file under the recording's name, if it is nobody's: empty, or a part that has no events."""
        try:
            file = OpenFile(self.path, is_new=False)
        except OSError:
            return None
        try:
            last = self._last
            is_last = last is not None and os.path.samestat(file.found, last.file.found)
            if is_last and last is not None and not last.has_events and file.size() == last.size:
                file.cut(0)
            if file.size() == 0:
                return file
        except BaseException:
            file.close()
            raise
        file.close()
        return None

    def _keep(self) -> None:
        """Put the last part under the next number. Raises OSError."""
        parts = self._parts()
        first = max(parts, default=0) + 1
        for number in range(first, first + _MOST_NAMES):
            with contextlib.suppress(FileExistsError):  # where the directory cannot be listed
                target = part_path(self.path, number)
                move_new(self.path, target)
                self._kept[number], self._last = target, None
                return
        raise FileExistsError(errno.EEXIST, "no name is left for the next part", str(self.path))

    def _parts(self) -> dict[int, Path]:
        """Return all that has the name of a full part."""
        return {**self._kept, **dict(full_parts(self.path))}

    def _remove_old(self) -> None:
        """Make room for one more part. Raises OSError."""
        own = [(path, path.lstat().st_size) for _, path in sorted(self._parts().items()) if is_own_part(path)]
        excess = sum(size for _, size in own) + self.part_bytes - self._max_bytes
        for path, size in own:
            if excess <= 0:
                break
            path.unlink()
            excess -= size


class _RecordingPart:
    """One file of a recording. `size` is that of what was written to it, `has_events` whether that is more than its
    beginning."""

    def __init__(self, file: OpenFile, kind: str | None, size: int) -> None:
        self.file = file
        self.size = size
        self.has_events = size > 0
        self._compressed = kind is not None
        self._compress = compressor(kind)
        self._is_broken = False

    def begin(self, lines: bytes) -> None:
        """Write the first lines, which are not events. Raises OSError."""
        had_events = self.has_events
        self.append(lines)
        self.has_events = had_events

    def append(self, lines: bytes) -> None:
        """Add lines. Raises OSError, and has added nothing then."""
        try:
            data = self._compress(lines)
            self.file.append(data)
        except BaseException as error:
            self._compress.restart()
            is_full = getattr(error, "errno", None) == errno.EFBIG  # this file; the next one has room
            self._is_broken = not self._cut() or self._compressed or is_full
            raise
        self.size += len(data)
        self.has_events = True

    def _cut(self) -> bool:
        try:
            self.file.cut(self.size)
        except OSError:
            return False
        return True

    def is_held(self) -> bool:
        """Return whether it is still open, if need be again; an emptied one is let go of."""
        if not self.file.is_ours() and not self.file.regain():
            return False
        if self.size and self.file.size() == 0 and self.file.is_in_place():  # emptied, to have the room back
            self.size, self.has_events = 0, False
            self.file.close()
            return False
        return True

    def is_broken(self) -> bool:
        """Return whether nothing can follow in this file: a block was broken off, or others have written to it, or cut
        it."""
        return self._is_broken or self.file.size() != self.size

    def end(self) -> None:
        """End the file well, if it is still as it was left. Raises OSError."""
        try:
            ending = self._compress.finish()
            if ending and not self.is_broken():
                self.file.append(ending)
        finally:
            self.file.close()


def _neighbours(path: Path) -> Iterator[Path]:
    stem, ending = split_ending(path)
    for number in range(1, _MOST_NAMES):
        yield path.with_name(f"{stem}.pid{os.getpid()}{f'-{number}' if number > 1 else ''}{ending}")
