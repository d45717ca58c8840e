"""The ring of a session: its file and its lock, or memory if no file can be had; made once, given back once."""

from __future__ import annotations

import contextlib
import json
import os
import re
from typing import TYPE_CHECKING, Any

from phasescope import _log
from phasescope.wire import ring_directories, ring_files, ring_sweep
from phasescope.wire.open_ring import OpenRing

if TYPE_CHECKING:
    from collections.abc import Callable

    from phasescope.readers.ring_reader import RingReader
    from phasescope.wire.ring import RingWriter


class RingHandle:
    """A session's own ring. `path` is None if it lives in memory."""

    def __init__(self, constants: dict[str, Any], capacity_bytes: int, directory: str | None) -> None:
        """Warn, and take memory instead, if no file can be had; as if the warning were given by `start()`'s caller."""
        self.released = False
        text = json.dumps(constants).encode()
        host = re.sub(r"[^A-Za-z0-9._]", "_", constants["host"])[:64]
        name = f"{host}-{constants['pid']}-{constants['started_ns'] // 1_000_000}"
        try:
            ring_sweep.sweep(directory)
            self._ring = ring_files.create(text, capacity_bytes, directory, name)
        except OSError as error:
            why = str(error) if isinstance(error, ring_directories.DirectoryError) else f"{error.strerror or error}"
            _log.warn(f"no ring file, so other processes cannot look in: {why}", stacklevel=4)
            with contextlib.suppress(Exception):  # whoever reads it is here; later there may be no room to load this
                import phasescope.readers.ring_reader  # noqa: F401

            self._ring = ring_files.create_in_memory(text, capacity_bytes)
        fd = self._ring.fd
        self._file = None if fd is None else os.fstat(fd)
        self._open = None if self._ring.path is None else OpenRing(self._ring.path)  # for when its name is gone

    @property
    def path(self) -> str | None:
        """The ring file, or None if the ring lives in memory."""
        return self._ring.path

    @property
    def writer(self) -> RingWriter:
        """The writer that appends to the ring."""
        return self._ring.writer

    def open_reader(self, beat: Callable[[], None]) -> RingReader:
        """Return a reader of the ring, also if its file was removed meanwhile."""
        from phasescope.readers.ring_reader import RingReader  # most trainings read nothing of their own

        writer = self._ring.writer
        if self._open is not None:
            return RingReader.of_own(self._open.again(), lambda: writer.memory, beat)
        buffer = self._ring.buffer
        return RingReader(lambda size, offset: bytes(buffer[offset : offset + size]), lambda: len(buffer), None)

    def release(self) -> None:
        """Give back the file's unused end, and its lock. In memory the ring stays readable as long as the session."""
        fd = self._ring.fd
        if self.released or fd is None:
            self.released = True
            return
        self.released = True
        writer = self._ring.writer
        used = writer.used_bytes
        with contextlib.suppress(OSError, ValueError, BufferError):
            writer.release()
            self._ring.buffer.close()
            if writer.memory is None and self._is_ours(fd):
                os.truncate(fd, used)
        if self._is_ours(fd):
            with contextlib.suppress(OSError):
                os.close(fd)

    def discard(self) -> None:
        """Remove every trace of a session that never began."""
        fd, path = self._ring.fd, self._ring.path
        if fd is not None and path is not None and self._is_ours(fd):
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108
        if self._open is not None:
            self._open.close()
        self.release()

    def _is_ours(self, fd: int) -> bool:
        """Return whether the descriptor is still that of the ring.

        Daemons close every descriptor, and their next file may get the same number: that one must be neither cut nor
        closed.
        """
        try:
            return self._file is not None and os.path.samestat(os.fstat(fd), self._file)
        except OSError:
            return False

    def abandon_in_child(self) -> None:
        """Close a forked child's copy of the descriptor: the lock that says that the writer lives is the parent's."""
        fd = self._ring.fd
        if fd is not None and self._is_ours(fd):
            with contextlib.suppress(OSError):
                os.close(fd)
