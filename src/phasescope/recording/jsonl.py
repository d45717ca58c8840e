"""Writes a recording: one TelemetryEvent v3 a line, plain, gzip or zstd, rotated by size, bounded as a whole.

A batch of lines is one write of whole lines (compressed: whole blocks), so a kill leaves at most the end of the last
one torn. What a full disk kept out is cut off again, and the batch is tried anew.
"""

from __future__ import annotations

import contextlib
import os
import stat
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from phasescope import system
from phasescope.event import InvalidEventError
from phasescope.recording.events import parse
from phasescope.recording.files import compression_in, compression_of, full_parts, part_path
from phasescope.recording.lines import MissingDependencyError, read_lines

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_BYTES = 1 << 20
MAX_BYTES = 1 << 50
DEFAULT_BYTES = 1 << 30
"""What all parts of a recording may take together."""

_PARTS = 8
_MEMBER_BYTES = 1 << 20  # of lines, in one gzip member or zstd frame: damage costs no more than one
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


class NotARecordingError(FileExistsError):
    """There is a file of this name already, and it holds no events: it is not written to."""


class RecordingInUseError(OSError):
    """Another process is writing this recording."""


class Writer:
    """One recording that is being written. One thread at a time. What is written at once should not pass `part_bytes`.

    `begin()` gives the lines that each part begins with, so that it can be read without those before it.
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
        self.path = Path(path)
        self._begin = begin
        self._max_bytes = max_bytes
        self.part_bytes = part_bytes or max_bytes // _PARTS
        self._kind = compression_of(path)
        self._compress = _compressor(self._kind)
        self._fd: int | None = None
        self._size = 0
        self._open()

    def write(self, lines: bytes) -> None:
        """Add whole lines. Raises OSError, and has written nothing then."""
        if self._size + (len(lines) if self._kind is None else 0) > self.part_bytes and self._size:
            self._rotate()
        if self._fd is None:
            self._open()
        self._append(lines)

    def close(self) -> None:
        """End the file well. Raises OSError."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        try:
            _write_all(fd, self._compress.finish())
        finally:
            os.close(fd)

    def abandon(self) -> None:
        """Let go of the file and add nothing to it: in a forked child, or where writing has failed for good."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _open(self) -> None:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise NotARecordingError(f"{self.path} is no regular file; name another one")
            if system.CAN_SHARE_FILES and not system.lock(fd):
                raise RecordingInUseError(f"{self.path} is being written by another process")
            self._size = _sound_end(fd, self.path)
            if self._kind is not None and self._size:
                os.close(fd)
                fd = -1
                self._keep_full_part()  # its last block may be torn, and then nothing can follow it in the same file
                return self._open()
            os.ftruncate(fd, self._size)
            os.lseek(fd, self._size, os.SEEK_SET)
            self._fd = fd
            self._append(self._begin())
        except BaseException:
            self._fd = None
            if fd >= 0:
                os.close(fd)
            raise
        return None

    def _append(self, lines: bytes) -> None:
        assert self._fd is not None
        try:
            data = self._compress(lines)
            _write_all(self._fd, data)
        except BaseException:
            self._compress.restart()
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
                os.lseek(self._fd, self._size, os.SEEK_SET)
            if self._kind is not None:
                self._size = max(self._size, self.part_bytes)  # the block is broken off: go on in a new part
            raise
        self._size += len(data)

    def _rotate(self) -> None:
        """Keep the full part under its number, remove what is then too much, begin the next one."""
        self.close()
        self._keep_full_part()
        self._open()

    def _keep_full_part(self) -> None:
        whole = full_parts(self.path)
        self.path.rename(part_path(self.path, whole[-1][0] + 1 if whole else 1))
        self._remove_old()

    def _remove_old(self) -> None:
        whole = [part for _, part in full_parts(self.path)]
        sizes = [part.stat().st_size for part in whole]
        excess = sum(sizes) + self.part_bytes - self._max_bytes
        for part, size in zip(whole, sizes, strict=True):
            if excess <= 0:
                break
            part.unlink()
            excess -= size


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sound_end(fd: int, path: Path) -> int:
    """Where an existing recording's last whole line or block ends. Raises NotARecordingError."""
    size = os.fstat(fd).st_size
    if size == 0:
        return 0
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        kind = compression_in(file.read(4))
        file.seek(0)
        if not _begins_with_event(file):
            raise NotARecordingError(f"{path} exists and holds no recording; name another file")
        if kind != compression_of(path):
            raise NotARecordingError(f"{path} exists and is not compressed as its name says; name another file")
        return size if kind is not None else _end_of_last_line(file, size)


def _begins_with_event(file: Any) -> bool:
    for batch in read_lines(file, lambda _: None):
        for line in batch:
            if not line.strip():
                continue
            if batch.torn:
                return line.startswith(b'{"')  # killed in its first write
            try:
                parse(line)
            except InvalidEventError:
                return False
            return True
    return True


def _end_of_last_line(file: Any, size: int) -> int:
    at = size
    while at > 0:
        start = max(0, at - (1 << 16))
        file.seek(start)
        found = file.read(at - start).rfind(b"\n")
        if found >= 0:
            return int(start + found + 1)
        at = start
    return 0


class _Compressor(Protocol):
    def __call__(self, lines: bytes) -> bytes:
        """The lines as bytes that can be read back even if nothing follows."""

    def finish(self) -> bytes:
        """What ends the file well."""

    def restart(self) -> None:
        """What was given last was not written: begin a new block."""


def _compressor(kind: str | None) -> _Compressor:
    return _Plain() if kind is None else _Gzip() if kind == "gz" else _Zstd()


class _Plain:
    def __call__(self, lines: bytes) -> bytes:
        return lines

    def finish(self) -> bytes:
        return b""

    def restart(self) -> None:
        pass


class _Gzip:
    """One gzip member after the other, each flushed to a whole byte with every batch."""

    def __init__(self) -> None:
        self._member: Any = None
        self._taken = 0

    def __call__(self, lines: bytes) -> bytes:
        if self._member is None:
            self._member, self._taken = zlib.compressobj(6, zlib.DEFLATED, 31), 0
        self._taken += len(lines)
        data: bytes = self._member.compress(lines)
        return data + (self.finish() if self._taken >= _MEMBER_BYTES else self._member.flush(zlib.Z_SYNC_FLUSH))

    def finish(self) -> bytes:
        member, self._member = self._member, None
        return member.flush() if member is not None else b""

    def restart(self) -> None:
        self._member = None


class _Zstd:
    """One zstd frame after the other, each flushed to a whole block with every batch."""

    def __init__(self) -> None:
        try:
            import zstandard
        except ImportError as error:
            raise MissingDependencyError("a .zst file needs zstandard: pip install 'phasescope[zstd]'") from error
        self._zstandard = zstandard
        self._frame: Any = None
        self._taken = 0

    def __call__(self, lines: bytes) -> bytes:
        if self._frame is None:
            self._frame = self._zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
            self._taken = 0
        self._taken += len(lines)
        data: bytes = self._frame.compress(lines)
        if self._taken >= _MEMBER_BYTES:
            return data + self.finish()
        return data + bytes(self._frame.flush(self._zstandard.COMPRESSOBJ_FLUSH_BLOCK))

    def finish(self) -> bytes:
        frame, self._frame = self._frame, None
        return frame.flush(self._zstandard.COMPRESSOBJ_FLUSH_FINISH) if frame is not None else b""

    def restart(self) -> None:
        self._frame = None
