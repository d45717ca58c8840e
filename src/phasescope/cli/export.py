"""Export live sessions to Prometheus, OpenTelemetry or an experiment tracker: memory, peaks, durations, warnings.

This process only reads; it does not affect the training. It takes one SESSION, the ranks of a --job, or with --all
every session of this user as they come and go. A session that is over is exported until 300 s after its last sign of
life (--keep-ended), then its metrics go away. The exporter ends with Ctrl-C, or with its SESSION.

--prometheus serves a page of metrics; other machines may ask for it only with a token, which is read from a file.
--otlp sends metrics, sampled spans and log records by OTLP over HTTP; headers come from OTEL_EXPORTER_OTLP_HEADERS.
--to logs to an experiment tracker: TensorBoard, MLflow or Weights & Biases.
All at once are possible. Each needs its extra: pip install "phasescope[otlp]", …
"""

from __future__ import annotations

import argparse
import contextlib
import threading
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import printable
from phasescope.cli import MISSING_DEPENDENCY, OK, WRONG_USAGE, CommandError
from phasescope.cli._live_sessions import add_which, check_which, ended_by_signals, live_sessions, pause_s
from phasescope.cli._output import Terminal, complain
from phasescope.cli._quantities import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.exporters.live_sessions import LiveSessions
    from phasescope.exporters.outlets import Outlet
    from phasescope.exporters.targets import Targets
    from phasescope.readers.reader import Reader

_MOST_PHASES = 1000
_KEEP_ENDED_S = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_which(parser)
    parser.add_argument(
        "--prometheus",
        metavar="[HOST]:PORT",
        help="serve the page of metrics there; without HOST at 127.0.0.1; port 0 means a free one",
    )
    parser.add_argument(
        "--token-file", metavar="FILE", help="ask for the token in this file; needed if HOST is not the loopback"
    )
    parser.add_argument(
        "--otlp", metavar="URL", help="send to the collector there, such as http://127.0.0.1:4318, by OTLP over HTTP"
    )
    parser.add_argument(
        "--to",
        action="append",
        metavar="TRACKER[=WHERE]",
        help="log to tensorboard[=DIR], mlflow[=URI] or wandb[=PROJECT]; may be given more than once",
    )
    parser.add_argument(
        "--every",
        dest="every_steps",
        type=int,
        default=10,
        metavar="N",
        help="log to a tracker once per N steps, and at most once a second (default 10)",
    )
    parser.add_argument(
        "--interval",
        dest="interval_s",
        type=float,
        default=10.0,
        metavar="S",
        help="send to the collector every S seconds (default 10)",
    )
    parser.add_argument(
        "--keep-ended",
        type=seconds(),
        metavar="S",
        help="export a session that is over for S seconds after its last sign of life (default 300; 0 with --to alone)",
    )
    parser.add_argument(
        "--max-phases",
        type=_phases,
        default=100,
        metavar="N",
        help="the most distinct phases per session; all others count as (other) (default 100, at most 1000)",
    )


def run(arguments: argparse.Namespace) -> int:
    check_which(arguments)
    targets = _targets(arguments)
    is_kept = arguments.prometheus is not None or arguments.otlp is not None
    keep_ended_s = arguments.keep_ended if arguments.keep_ended is not None else _KEEP_ENDED_S if is_kept else 0.0
    limits = {"keep_ended_s": keep_ended_s, "max_phases": arguments.max_phases}
    sessions, lock = live_sessions(arguments, "export", **limits), threading.Lock()
    from phasescope.exporters.quiet_threads import end_of_quiet, quiet_this_thread

    quiet_this_thread()
    with contextlib.ExitStack() as running:
        running.callback(end_of_quiet)
        running.callback(sessions.close)
        ended = running.enter_context(ended_by_signals())
        for outlet in _outlets(targets, sessions, lock):
            running.enter_context(_running(outlet))
        Terminal().line("Ctrl-C ends it; the training goes on.", "dim")
        _follow(sessions, lock, ended, ends_with_session=not (arguments.all or arguments.job))
    return OK


def _targets(arguments: argparse.Namespace) -> Targets:
    from phasescope.exporters.targets import TRACKERS, ExtraMissingError, TargetError, targets_of

    names = ("otlp", "prometheus", "token_file", "interval_s", "every_steps")
    if arguments.prometheus is None and arguments.otlp is None and not arguments.to:
        raise CommandError("where to? --prometheus [HOST]:PORT or --otlp URL or --to TRACKER", WRONG_USAGE)
    trackers = {name: where for name, _, where in (text.partition("=") for text in arguments.to or [])}
    wrong = next((name for name in trackers if name not in TRACKERS), None)
    if wrong is not None:
        raise CommandError(f"--to: {printable(wrong)} is not one of {', '.join(TRACKERS)}", WRONG_USAGE)
    try:
        targets = targets_of({**{name: getattr(arguments, name) for name in names}, **trackers})
        targets.check_extras()
    except TargetError as error:
        hint = ": --token-file FILE" if "token" in str(error) else ""
        option = error.name.removesuffix("_steps").removesuffix("_s").replace("_", "-")
        raise CommandError(f"--{option}: {error}{hint}", WRONG_USAGE) from None
    except ExtraMissingError as error:
        raise CommandError(str(error), MISSING_DEPENDENCY) from error
    return targets


def _outlets(targets: Targets, sessions: LiveSessions, lock: threading.Lock) -> list[Outlet]:
    from phasescope.cli import report
    from phasescope.exporters.outlets import CannotListenError, TrackerError, WrongVariableError, outlets_of
    from phasescope.exporters.tracker_log import short_report
    from phasescope.views.page.html_page import PlotlyMissingError

    def page(reader: Reader) -> str:
        try:
            return report.make(reader, [])
        except PlotlyMissingError:
            return short_report(reader)

    try:
        return outlets_of(targets, sessions, lock, complain, report=page)
    except (CannotListenError, TrackerError) as error:
        raise CommandError(str(error)) from error
    except WrongVariableError as error:
        raise CommandError(str(error), WRONG_USAGE) from None


@contextlib.contextmanager
def _running(outlet: Outlet) -> Iterator[None]:
    Terminal().line(printable(outlet.shown), "bold")
    outlet.start()
    try:
        yield
    finally:
        outlet.close()
        for remark in outlet.remarks():
            complain(remark)


def _follow(sessions: LiveSessions, lock: threading.Lock, ended: threading.Event, *, ends_with_session: bool) -> None:
    behind = False
    while not ended.wait(pause_s(behind)):
        with lock:
            behind = sessions.poll()
            if ends_with_session and not len(sessions):
                return


def _phases(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= _MOST_PHASES):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MOST_PHASES}")
    return int(text)
