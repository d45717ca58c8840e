"""What the extension module has; see the C files beside this one."""

from array import array
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import Any

HAS_PHASES: bool
INTERFACE: int

class PhaseSlots: ...
class WriterSlots: ...

class OpenPhases:
    def __contains__(self, scope: object, /) -> bool: ...
    def __delitem__(self, scope: Any, /) -> None: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    def __setitem__(self, scope: Any, value: None, /) -> None: ...

class RingSlots:
    _at: int
    _limit: int
    _base: int
    sequence: int
    def _store_in(self, buffer: object, mode: int, source: object = None, fd: int = -1, /) -> None: ...
    def _beat_in(
        self, fd: int = -1, device: int = 0, number: int = 0, size: int = 0, header: bytes = b"", /
    ) -> None: ...
    def _store_nowhere(self) -> None: ...
    def _try_append(self, payload: bytes, /) -> bool: ...

class ResidentSet:
    fd: int
    def __new__(cls, page_bytes: int, otherwise: Callable[[int], Any], touching_ns: int) -> ResidentSet: ...
    def __call__(self, device: int = ..., /) -> Any: ...

class HostFigures:
    figures: Any
    due_ns: int
    def know(
        self,
        until_ns: int,
        statm: tuple[int, int, int],
        meminfo: tuple[int, int, int],
        total_bytes: int,
        limit_bytes: int = -1,
        usage: tuple[int, int, int] = ...,
        stat: tuple[int, int, int] = ...,
        label: bytes = ...,
        /,
    ) -> None: ...
    def forget(self) -> None: ...

class SamplerSlots:
    _writer: Any
    _collectors: Any
    asks: list[Any]
    _request_path: bytes | None
    _interval_ns: int
    _due_ns: int
    _sampled_sequence: int
    _home_thread: int
    _details_due_ns: int
    _has_request: bool
    def _tick_in_core(self, late_ns: int, /) -> bool: ...
    def _wait_in_core(self) -> bool: ...
    def _wake(self) -> None: ...
    def _rely_on(
        self,
        device: object = ...,
        admitted: object = ...,
        host: object = ...,
        total: int = 0,
        lowest: int = 0,
        below: int = 0,
        /,
    ) -> None: ...

def compile_phase(
    *,
    phase: type,
    prepared: type,
    path_class: type,
    thread_class: type,
    variable: ContextVar[Any],
    root: object,
    break_off: object,
    this_thread: object,
    inherits: bool,
) -> type: ...
def know_classes(
    *,
    writer_class: type,
    device_class: type,
    collector_class: type,
    collectors_class: type,
    system_clock: object,
    system_wall_clock: object,
    raw: type,
    encode: object,
) -> None: ...
def set_event_writer(writer: object, /) -> None: ...
def interpret(flag: bool, /) -> None: ...
def collection_callbacks(
    namespace: dict[str, Any],
    while_collecting: dict[str, Any],
    otherwise: dict[str, Any],
    entered_again: list[Any],
    callbacks: list[Any],
    /,
) -> tuple[Callable[[str, dict[str, int]], None], Callable[[str, dict[str, int]], None]]: ...
def forget_threads() -> None: ...
def encode(values: object, /) -> bytes: ...
def following(
    data: bytes,
    at: int,
    position: int,
    sequence: int,
    is_big_endian: bool,
    records: list[Any] | bytearray,
    /,
) -> tuple[int, int]: ...
def fold(
    data: bytes,
    payload_spans: bytearray | None,
    form: list[bytes] | None,
    known: dict[bytes, Any],
    untold: list[Any],
    newest_at: dict[str, int],
    opened: dict[Any, Any],
    spans: object,
    raised: dict[Any, Any] | None,
    wants_ends: bool,
    is_watched: bool,
    add_event: Callable[[int, bytes | None, bytes | None], int],
    max_opened: int,
    kind_class: type,
    newest_counts: dict[str, list[int | None]],
    /,
) -> tuple[int, int, int, int, int]: ...
def add_rows(
    data: bytes,
    payload_spans: bytearray,
    kinds: dict[bytes, Any],
    buffers: tuple[bytearray, ...],
    rows: int,
    text_size: int,
    prefix: bytes,
    find_kind: Callable[[bytes, bytes, bytes, int], Any],
    add_event: Callable[..., Any],
    /,
) -> tuple[int, int]: ...
def add_line_rows(
    data: bytes,
    start: int,
    form: list[bytes],
    kinds: dict[bytes, Any],
    buffers: tuple[bytearray, ...],
    rows: int,
    text_size: int,
    prefix: bytes,
    add_line: Callable[[bytes], Any],
    /,
) -> tuple[int, int, int]: ...
def log_buckets(values: array[int], scale: float, /) -> dict[int, int]: ...
def thread_frames() -> dict[int, list[FrameType]]: ...
def thread_stacks(
    threads: set[int], /
) -> dict[int, tuple[list[tuple[int, CodeType, int]], list[tuple[int, CodeType, int]]]]: ...
def line_ends(data: bytes, /) -> tuple[int, bool]: ...
def crc32(data: bytes, start: int = 0, /) -> int: ...
