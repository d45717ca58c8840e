"""The outlets of an export: what sends or serves the figures of sessions, each from its `start` to its `close`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from phasescope.exporters.live_sessions import LiveSessions
    from phasescope.exporters.targets import Targets
    from phasescope.exporters.tracker_log import Tracker
    from phasescope.readers.reader import Reader


class Outlet(Protocol):
    """One of them. `shown` says where to, without what may be secret; the end of a training in whose process it is
    may wait for it for `patience_s`."""

    shown: str
    patience_s: float

    def start(self) -> None:
        """Begin."""

    def close(self) -> None:
        """Send or write what is there, and end, within a bounded time."""

    def hurry(self) -> None:
        """Let a `close` that another thread is in come to its end at once, as far as that can be."""

    def remarks(self) -> Iterable[str]:
        """Return what was lost, a line each."""

    def abandon_in_child(self) -> None:
        """In a forked child, let go of what is the parent's."""


class CannotListenError(OSError):
    """The page cannot be served there."""


class WrongVariableError(ValueError):
    """An environment variable of a library has no valid value."""


class TrackerError(RuntimeError):
    """A tracker cannot be used; the text says why, without what may be secret."""


def outlets_of(
    targets: Targets,
    sessions: LiveSessions,
    lock: threading.Lock,
    say: Callable[[str], object],
    *,
    inside: bool = False,
    report: Callable[[Reader], str] | None = None,
) -> list[Outlet]:
    """Return an outlet for each target, not yet started. `lock` guards the sessions, `say` is called with a line when
    a target is away, and when it is back. `inside` is: in the session's own process; `report` makes the page that a
    tracker gets. Raises CannotListenError, WrongVariableError and TrackerError.
    """
    made: list[Outlet] = []
    if targets.otlp is not None:
        from phasescope.exporters.otlp import Delivery

        try:
            made.append(Delivery(targets.otlp, sessions, lock, interval_s=targets.interval_s, say=say))
        except ValueError:  # its text may hold the value
            raise WrongVariableError("an OTEL_EXPORTER_OTLP_… variable has no valid value") from None
    if targets.prometheus is not None:
        from phasescope.exporters.metrics_server import MetricsServer
        from phasescope.exporters.prometheus import registry_of

        host, port = targets.prometheus
        try:
            made.append(MetricsServer(registry_of(sessions, lock), host, port, targets.token))
        except OSError as error:
            raise CannotListenError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from error
    for name, where in targets.trackers:
        tracker = _tracker(name, where, inside=inside)
        from phasescope.exporters.tracker_log import TrackerLog, short_report

        page = short_report if report is None else report
        steps = targets.every_steps
        made.append(TrackerLog(tracker, sessions, lock, every_steps=steps, say=say, report=page))
    return made


def _tracker(name: str, where: str, *, inside: bool) -> Tracker:
    try:
        if name == "tensorboard":
            from phasescope.exporters.to_tensorboard import TensorBoard

            return TensorBoard(where, inside=inside)
        if name == "mlflow":
            from phasescope.exporters.to_mlflow import Mlflow

            return Mlflow(where, inside=inside)
        from phasescope.exporters.to_wandb import NotLoggedInError, WeightsAndBiases

        try:
            return WeightsAndBiases(where, inside=inside)
        except NotLoggedInError as error:
            raise TrackerError(str(error)) from None
    except TrackerError:
        raise
    except Exception as error:  # of the library; its text may hold an address with a password
        raise TrackerError(f"{name} cannot be used: {type(error).__name__}") from error
