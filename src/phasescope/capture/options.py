"""The arguments of start(), checked: a wrong one raises at once, by its name, with the way out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.wire import ring

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.capture.clock import Clock
    from phasescope.exporters.targets import Targets

_MAX_INTERVAL_MS = 3_600_000
_RECORDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst")


class Options(NamedTuple):
    """The options of a session, as `start()` documents them."""

    backends: Any
    devices: tuple[int, ...] | None
    interval_ms: int
    capacity_bytes: int
    directory: str | None
    job_id: str | None
    rank: int | None
    local_rank: int | None
    world_size: int | None
    report_exceptions: tuple[type[BaseException], ...]
    peaks: bool
    device_time: bool
    warning_share: float | None
    critical_share: float | None
    warning_bytes: int | None
    critical_bytes: int | None
    oom_snapshot: str | None
    record: str | None
    record_bytes: int
    export: Targets | None
    clock: Clock | None
    census: bool
    requests: bool
    sites: bool

    @classmethod
    def checked(cls, **given: Any) -> Options:
        """Return the options. Raises TypeError or ValueError, naming the argument."""
        given["backends"] = _backends(given["backends"])
        given["devices"] = _devices(given["devices"])
        _whole("interval_ms", given["interval_ms"], 1, _MAX_INTERVAL_MS)
        _whole("capacity_bytes", given["capacity_bytes"], ring.MIN_CAPACITY_BYTES, ring.MAX_CAPACITY_BYTES)
        for name in ("directory", "oom_snapshot"):
            given[name] = _directory(name, given[name])
        given["report_exceptions"] = _exceptions(given["report_exceptions"])
        for name in ("peaks", "device_time", "census", "requests", "sites"):
            _switch(name, given[name])
        for name in ("warning_share", "critical_share"):
            _share(name, given[name])
        for name in ("warning_bytes", "critical_bytes"):
            if given[name] is not None:
                _whole(name, given[name], 1, 1 << 62)
        for unit in ("share", "bytes"):
            _in_order(f"warning_{unit}", f"critical_{unit}", given)
        given["record"] = _record(given["record"])
        _whole("record_bytes", given["record_bytes"], 1 << 20, 1 << 50)
        given["export"] = _export(given["export"])
        _clock(given["clock"])
        return cls(**given)

    def differing(self, other: Options, defaults: Mapping[str, Any]) -> list[str]:
        """Return the names of the options that differ from the other's, but for those left at their defaults."""
        return [
            name
            for name, ours, theirs in zip(self._fields, self, other, strict=True)
            if ours != theirs and ours != defaults[name]
        ]


def _whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r:.80}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, not {value}")


def _switch(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r:.80}")


def _share(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a share of the device's memory such as 0.9, or None, not {value!r:.80}")
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, not {value}; None switches it off")


def _in_order(lower: str, higher: str, given: dict[str, Any]) -> None:
    if given[lower] is not None and given[higher] is not None and given[lower] > given[higher]:
        raise ValueError(f"{lower} ({given[lower]}) must not be above {higher} ({given[higher]})")


def _backends(value: object) -> object:
    if isinstance(value, str):
        return value
    if not isinstance(value, (list, tuple)):
        raise TypeError(f'backends must be "auto" or a list of names, not a {type(value).__name__}')
    if not value:
        raise ValueError('backends must not be empty; ["cpu"] looks at the host alone')
    return tuple(value)


def _devices(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    devices = (value,) if isinstance(value, int) else value
    if not isinstance(devices, (list, tuple)):
        raise TypeError(f"devices must be a list of device indices, not a {type(value).__name__}")
    for device in devices:
        _whole("devices", device, 0, 1 << 16)
    if not devices:
        raise ValueError("devices must not be empty; leave it out to look at all that this process uses")
    return tuple(devices)


def _directory(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path, not a {type(value).__name__}")
    path = os.fspath(value)
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise ValueError(f"{name} must be a path of text that is not blank")
    return path


def _record(value: object) -> str | None:
    path = _directory("record", value)
    if path is None or path.endswith(("/", os.sep)) or os.path.isdir(path):  # noqa: PTH112 - pathlib costs an import
        return path
    if not path.lower().endswith(_RECORDINGS):
        raise ValueError(
            f"record must be a directory or end in {', '.join(_RECORDINGS)}, not {path!r:.80}; "
            "`phasescope convert` makes other formats of those"
        )
    return path


def _export(value: object) -> Targets | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TypeError(
            f'export must be a dict such as {{"otlp": "http://127.0.0.1:4318"}}, not a {type(value).__name__}'
        )
    from phasescope.exporters.targets import TargetError, targets_of  # for those who ask for it

    try:
        return targets_of(value)
    except TargetError as error:
        raise ValueError(f"export: {error.name[:80]}: {error}") from None


def _exceptions(value: object) -> tuple[type[BaseException], ...]:
    classes = (value,) if isinstance(value, type) else value
    if not isinstance(classes, (list, tuple)):
        raise TypeError(f"report_exceptions must be a list of exception classes, not a {type(value).__name__}")
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise TypeError(f"report_exceptions must hold exception classes, not {cls!r:.80}")
    return tuple(classes)


def _clock(value: object) -> None:
    lacks = [part for part in ("monotonic_ns", "wall_ns", "wait_until") if not callable(getattr(value, part, None))]
    if value is not None and lacks:
        raise TypeError(f"clock: a {type(value).__name__} is not a clock; it has no {', '.join(lacks)}")
