"""Bytes to whole lines: plain, gzip and zstd, as much of a damaged file as is sound, in bounded memory."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from phasescope import _native
from phasescope.recordings.formats import compression_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

MAX_LINE_BYTES = 512 * 2**10
"""No event is as long, nor a session's constants; a longer line is passed over without keeping it."""

_CHUNK, _CORES_CHUNK = 1 << 16, 1 << 17
"""What Python makes of a chunk on the way stays in the processor's cache; the compiled core makes nothing of it."""

_MAX_OUTPUT = 1 << 20
_SALVAGE_STEP = 64
_NEAR_THE_END = 8
_ZSTD_STEP = 1024  # a hostile frame turns one byte into tens of KiB, and this library sets no bound
_GZIP_MEMBER = b"\x1f\x8b\x08"
_ZSTD_FRAME = b"\x28\xb5\x2f\xfd"


class Lines:
    """Lines without their ends, and the number of the first, from 1. `torn`: the last one has no end.

    `data` are all of them. Only who asks for a single one has them split, which takes as long as a third of the
    decoding.
    """

    __slots__ = ("_count", "_lines", "data", "first", "torn")

    def __init__(self, first: int, data: bytes, *, torn: bool) -> None:
        self.first = first
        self.data = data
        self.torn = torn
        self._count: tuple[int, bool] | None = None
        self._lines: list[bytes] | None = None

    def __len__(self) -> int:
        return self._counted()[0]

    def are_objects(self) -> bool:
        """Return whether nothing but `}` and `{` is around the ends between the lines. As a JSON text has no such place
        in it, a decoder that finds as many objects as there are lines has found one in each."""
        return self._counted()[1]

    def _counted(self) -> tuple[int, bool]:
        if self._count is None and _native.core is not None:
            self._count = _native.core.line_ends(self.data)
        if self._count is None:
            data, count, are_objects = self.data, 1, True
            end = data.find(b"\n")
            while end >= 0:  # `count` looks at each byte by itself, which takes longer
                if are_objects and data[end - 1 : end + 2] != b"}\n{":
                    are_objects = False
                end, count = data.find(b"\n", end + 1), count + 1
            self._count = count, are_objects
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._split())

    def __getitem__(self, index: int) -> bytes:
        from_end = len(self) - index if self._lines is None else 0
        if 0 < from_end <= _NEAR_THE_END:
            start = end = len(self.data) + 1
            for _ in range(from_end):  # each ends where the one before begins; `rsplit` copies all that is before
                start, end = self.data.rfind(b"\n", 0, start - 1) + 1, start
            return self.data[start : end - 1]
        return self._split()[index]

    def index(self, line: bytes, start: int = 0) -> int:
        """Return the place of the next line like this one. Raises ValueError."""
        return self._split().index(line, start)

    def _split(self) -> list[bytes]:
        if self._lines is None:
            self._lines = self.data.split(b"\n")
        return self._lines


class MissingDependencyError(ImportError):
    """A package is needed that is not installed; the text has the pip line that brings it."""


def read_lines(file: BinaryIO, report: Callable[[str], object]) -> Iterator[Lines]:
    """Iterate over the file's lines. Damage to a compressed stream is passed to `report`; reading goes on after it
    where it can.

    Raises OSError, and MissingDependencyError for zstd without its package.
    """
    chunks = _chunks(file)
    beginning = next(chunks, b"")
    kind = compression_in(beginning)
    together = _with_first(beginning, chunks)
    if kind == "gz":
        return _split(_gunzip(together, report), report)
    if kind == "zst":
        return _split(_unzstd(together, report), report)
    return _split(together, report)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    size_bytes = _CHUNK if _native.core is None else _CORES_CHUNK
    while chunk := file.read(size_bytes):
        yield chunk


def _with_first(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _split(chunks: Iterable[bytes], report: Callable[[str], object]) -> Iterator[Lines]:
    number, rest, passing = 1, b"", False
    for chunk in chunks:
        if passing:
            end = chunk.find(b"\n")
            if end < 0:
                continue
            chunk = chunk[end + 1 :]
            number, passing = number + 1, False
        end = chunk.rfind(b"\n")
        if end >= 0:
            lines = Lines(number, b"".join((rest, memoryview(chunk)[:end])), torn=False)
            yield lines
            number += len(lines)
            rest = b""
        rest += chunk[end + 1 :]
        if len(rest) > MAX_LINE_BYTES:
            report(f"line {number}: longer than {MAX_LINE_BYTES} bytes")
            rest, passing = b"", True
    if rest:
        yield Lines(number, rest, torn=True)


def _gunzip(chunks: Iterable[bytes], report: Callable[[str], object]) -> Iterator[bytes]:
    inflate = zlib.decompressobj(31)
    for chunk, lost in _resynchronised(chunks, _GZIP_MEMBER):
        if lost:
            inflate = zlib.decompressobj(31)
        data = chunk.data
        while data:
            before = inflate.copy()
            try:
                out = inflate.decompress(data, _MAX_OUTPUT)
            except zlib.error:
                yield from _salvaged(before, data)
                yield b"\n"  # what comes next is not the rest of this line
                report("the compressed data are damaged; what follows is read from the next whole block on")
                chunk.damaged(data)
                break
            yield out
            data = inflate.unconsumed_tail
            if inflate.eof:
                data, inflate = inflate.unused_data, zlib.decompressobj(31)


def _salvaged(inflate: Any, data: bytes) -> Iterator[bytes]:
    """Yield what a damaged stretch gives before the damage: the call that fails keeps all of its output to itself."""
    for start in range(0, len(data), _SALVAGE_STEP):
        try:
            yield inflate.decompress(data[start : start + _SALVAGE_STEP])
        except zlib.error:
            return


def _unzstd(chunks: Iterable[bytes], report: Callable[[str], object]) -> Iterator[bytes]:
    zstandard = _zstandard()
    decompressor = zstandard.ZstdDecompressor()
    frame = decompressor.decompressobj()
    for chunk, lost in _resynchronised(chunks, _ZSTD_FRAME):
        if lost:
            frame = decompressor.decompressobj()
        data = chunk.data
        while data:
            step, data = data[:_ZSTD_STEP], data[_ZSTD_STEP:]
            try:
                out = frame.decompress(step)
            except zstandard.ZstdError:
                yield b"\n"
                report("the compressed data are damaged; what follows is read from the next whole block on")
                chunk.damaged(step + data)
                break
            yield out
            if frame.eof:
                data, frame = frame.unused_data + data, decompressor.decompressobj()


class _Chunk:
    """A stretch of compressed bytes; its reader says where it could not go on."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.rest: bytes | None = None

    def damaged(self, rest: bytes) -> None:
        self.rest = rest


def _resynchronised(chunks: Iterable[bytes], magic: bytes) -> Iterator[tuple[_Chunk, bool]]:
    """Iterate over the chunks, and after damage what begins with the next `magic`; whether it is such a new
    beginning."""
    seeking, kept = False, b""
    for data in chunks:
        if not seeking:
            chunk = _Chunk(data)
            yield chunk, False
            if chunk.rest is None:
                continue
            seeking, kept, data = True, b"", chunk.rest[1:]
        data = kept + data
        while seeking:
            start = data.find(magic)
            if start < 0:
                kept = data[-len(magic) + 1 :]
                break
            chunk = _Chunk(data[start:])
            yield chunk, True
            seeking = chunk.rest is not None
            data = chunk.rest[1:] if chunk.rest is not None else b""


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise MissingDependencyError("reading .zst needs zstandard: pip install 'phasescope[zstd]'") from error
    return zstandard
