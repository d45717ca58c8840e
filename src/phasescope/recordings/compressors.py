"""Lines to bytes that can be read back even if nothing follows: plain, gzip or zstd."""

from __future__ import annotations

import zlib
from typing import Any, Protocol

from phasescope.recordings.line_stream import MissingDependencyError

_MEMBER_BYTES = 1 << 20  # of lines, in one gzip member or zstd frame: damage costs no more than one


class Compressor(Protocol):
    """What stands between lines and a file."""

    def __call__(self, lines: bytes) -> bytes:
        """Return the lines as bytes that can be read back even if nothing follows."""

    def finish(self) -> bytes:
        """Return what ends the file well."""

    def restart(self) -> None:
        """Begin a new block, because the last one was not written."""


def compressor(kind: str | None) -> Compressor:
    """Return the one for `gz`, `zst` or None. Raises MissingDependencyError."""
    return _Plain() if kind is None else _Gzip() if kind == "gz" else _Zstd()


class _Plain:
    def __call__(self, lines: bytes) -> bytes:
        return lines

    def finish(self) -> bytes:
        return b""

    def restart(self) -> None:
        pass


class _Gzip:
    """One gzip member after another, each flushed to a whole byte with every batch."""

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
    """One zstd frame after another, each flushed to a whole block with every batch."""

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
