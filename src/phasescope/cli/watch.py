"""Watch live sessions and raise an alert when memory grows, a device fills up, or a training dies.

It takes one SESSION, the sessions of a --job, or with --all every session of this user as they come and go. Each
--when is a condition: growth, oom (out of memory), died, silent, or a threshold of a device such as used>90%,
free<2GiB, allocated>30GiB or reserved>70%. An alert is raised once per cause: a threshold is armed again once the
figure is back by a twentieth of it.

An alert is one JSON object: --run starts a program with it on its standard input, --webhook posts it, and without
either it is a line on standard output. What a web hook does not take is sent again. docs/alerts.md has the fields.
The command ends with Ctrl-C, or with its SESSION.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from phasescope._json import json_text
from phasescope.analysis.formatting import plural, printable
from phasescope.cli import OK, WRONG_USAGE, CommandError
from phasescope.cli._live_sessions import add_which, check_which, ended_by_signals, live_sessions, pause_s
from phasescope.cli._output import Terminal, complain, flush_output

if TYPE_CHECKING:
    import argparse
    import threading
    from collections.abc import Iterator

    from phasescope.exporters.alert_actions import Action, Sender
    from phasescope.exporters.alert_conditions import Condition
    from phasescope.exporters.alerts import Watching
    from phasescope.exporters.live_sessions import LiveSessions

_KEEP_ENDED_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_which(parser)
    parser.add_argument(
        "--when",
        action="append",
        metavar="CONDITION",
        help="growth, oom, died, silent, or a threshold such as used>90%% or free<2GiB; may be given more than once",
    )
    parser.add_argument(
        "--run", action="append", metavar="CMD", help="run this program, without a shell, with the alert on its input"
    )
    parser.add_argument(
        "--webhook",
        action="append",
        metavar="URL",
        help="post the alert there; @FILE is the URL in that file, which no other user sees;"
        " $PHASESCOPE_WEBHOOK_AUTHORIZATION is sent as Authorization",
    )


def run(arguments: argparse.Namespace) -> int:
    from phasescope.exporters.alerts import Watching

    check_which(arguments)
    conditions, actions = _conditions(arguments.when or []), _actions(arguments)
    sessions = live_sessions(arguments, "watch", keep_ended_s=_KEEP_ENDED_S)
    watching = Watching(sessions, conditions)
    with contextlib.ExitStack() as running:
        running.callback(sessions.close)
        ended = running.enter_context(ended_by_signals())
        senders = [running.enter_context(_sending(action)) for action in actions]
        _follow(sessions, watching, senders, ended, ends_with_session=not (arguments.all or arguments.job))
    return OK


def _follow(
    sessions: LiveSessions,
    watching: Watching,
    senders: list[Sender],
    ended: threading.Event,
    *,
    ends_with_session: bool,
) -> None:
    behind = False
    while not ended.wait(pause_s(behind)):
        behind = sessions.poll()
        is_over = ends_with_session and watching.is_over
        for alert in watching.due():
            body = json_text(alert.to_dict())
            for sender in senders:
                sender.put(body)
            if not senders:
                Terminal().line(body)
                flush_output()
        if is_over:
            return


@contextlib.contextmanager
def _sending(action: Action) -> Iterator[Sender]:
    from phasescope.exporters.alert_actions import Sender

    sender = Sender(action, complain)
    sender.start()
    try:
        yield sender
    finally:
        sender.close()
        if sender.dropped:
            complain(f"{plural(sender.dropped, 'alert')} not delivered")


def _conditions(texts: list[str]) -> list[Condition]:
    from phasescope.exporters.alert_conditions import condition_of

    if not texts:
        raise CommandError("what for? --when growth, --when 'used>90%'", WRONG_USAGE)
    try:
        return [condition_of(text) for text in dict.fromkeys(texts)]
    except ValueError as error:
        raise CommandError(f"--when: {error}", WRONG_USAGE) from None


def _actions(arguments: argparse.Namespace) -> list[Action]:
    from phasescope.exporters.alert_actions import Command, Webhook

    actions: list[Action] = []
    try:
        actions += [Command(line) for line in arguments.run or []]
    except ValueError as error:
        raise CommandError(f"--run: {error}", WRONG_USAGE) from None
    try:
        actions += [Webhook(_address(text)) for text in arguments.webhook or []]
    except ValueError:
        raise CommandError("--webhook: not an address such as https://hooks.example.com/T1", WRONG_USAGE) from None
    return actions


def _address(text: str) -> str:
    """Return the URL, from its file if it is in one: a command line is no place for a secret."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no text"
        raise CommandError(f"--webhook: {printable(text[1:])}: {why}", WRONG_USAGE) from None
