"""Where sessions are exported to, as the command's arguments or `start(export=...)` say, checked before any library of
an exporter is imported.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from phasescope._packages import is_installed
from phasescope.exporters.addresses import NOT_AN_ADDRESS, Address, Endpoint, address_of, endpoint_of, is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERVAL_S = 10.0
EVERY_STEPS = 10
TRACKERS = ("tensorboard", "mlflow", "wandb")
NAMES = ("otlp", "prometheus", "token_file", "interval_s", *TRACKERS, "every_steps")

_SHORTEST_INTERVAL_S = 0.1
_LONGEST_INTERVAL_S = 86_400.0
_MOST_STEPS = 1_000_000


class TargetError(ValueError):
    """An export that cannot be meant; `name` is the option's. The text holds nothing that may be secret."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class ExtraMissingError(ImportError):
    """A package is needed that is not installed; the text has the pip line that brings it."""


class Targets(NamedTuple):
    """Where to; None is: not there."""

    otlp: Endpoint | None = None
    prometheus: Address | None = None
    token: str | None = None
    interval_s: float = INTERVAL_S
    trackers: tuple[tuple[str, str], ...] = ()
    every_steps: int = EVERY_STEPS

    def __repr__(self) -> str:
        """Return the options without secrets: those of a session may be printed."""
        return f"<Targets {self.otlp!r}, {self.prometheus!r}, {[name for name, _ in self.trackers]}>"

    def check_extras(self) -> None:
        """Raise ExtraMissingError if the library of one of them is not installed."""
        for extra, is_used, name in (
            ("prometheus", self.prometheus is not None, "prometheus_client"),
            ("otlp", self.otlp is not None, "opentelemetry.exporter.otlp.proto.http"),
            *((name, name in dict(self.trackers), name) for name in TRACKERS),
        ):
            if is_used and not is_installed(name):
                raise ExtraMissingError(f'{name} missing: pip install "phasescope[{extra}]"')


def targets_of(options: Mapping[str, object]) -> Targets:
    """Return what these options name: those of `NAMES`. Raises TargetError."""
    wrong = next((name for name in options if name not in NAMES), None)
    if wrong is not None:
        raise TargetError(str(wrong), f"not one of {', '.join(NAMES)}")
    otlp, prometheus = _text(options, "otlp"), _text(options, "prometheus")
    trackers = tuple((name, where) for name in TRACKERS if (where := _text(options, name)) is not None)
    if otlp is None and prometheus is None and not trackers:
        raise TargetError("otlp", f"where to? otlp, prometheus, {', '.join(TRACKERS)}")
    address = None if prometheus is None else _address(prometheus)
    return Targets(
        None if otlp is None else _endpoint(otlp),
        address,
        None if address is None else _token(address, _text(options, "token_file")),
        _interval(options.get("interval_s", INTERVAL_S)),
        trackers,
        _steps(options.get("every_steps", EVERY_STEPS)),
    )


def _text(options: Mapping[str, object], name: str) -> str | None:
    value = options.get(name)
    if value is not None and not isinstance(value, str):
        raise TargetError(name, f"a text, not a {type(value).__name__}")
    return value


def _endpoint(url: str) -> Endpoint:
    try:
        return endpoint_of(url)
    except ValueError:
        raise TargetError("otlp", NOT_AN_ADDRESS) from None


def _address(text: str) -> Address:
    try:
        return address_of(text)
    except ValueError as error:
        raise TargetError("prometheus", str(error)) from None


def _token(address: Address, file: str | None) -> str | None:
    if file is None:
        if not is_loopback(address.host):
            raise TargetError("prometheus", "other machines may ask only with a token, from a file")
        return None
    try:
        token = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise TargetError("token_file", getattr(error, "strerror", None) or "no text") from None
    if not token:
        raise TargetError("token_file", "the file is empty")
    return token


def _interval(value: object) -> float:
    seconds = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    if not _SHORTEST_INTERVAL_S <= seconds <= _LONGEST_INTERVAL_S:
        raise TargetError("interval_s", f"a number of seconds from {_SHORTEST_INTERVAL_S} to {_LONGEST_INTERVAL_S:g}")
    return seconds


def _steps(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_STEPS:
        raise TargetError("every_steps", f"a number of steps from 1 to {_MOST_STEPS:,}")
    return value
