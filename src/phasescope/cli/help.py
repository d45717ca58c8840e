"""Show the help of a command, or of a topic that belongs to all of them.

Without TOPIC it lists the commands. The topics beside their names: exit-codes, what a command's exit code means.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from phasescope.cli import COMMANDS, OK, WRONG_USAGE, CommandError, help_width, main
from phasescope.cli._exit_codes import EXIT_CODES, OF_RUN
from phasescope.cli._output import Terminal

if TYPE_CHECKING:
    import argparse

_EXIT_CODES = "exit-codes"
_CODE_WIDTH = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help=f"a command, or {_EXIT_CODES}")


def run(arguments: argparse.Namespace) -> int:
    topic = arguments.topic
    if topic is None:
        return main(["--help"])
    if topic in COMMANDS:
        return main([topic, "--help"])
    if topic != _EXIT_CODES:
        raise CommandError(f'no help on "{topic}": name a command, or {_EXIT_CODES}', WRONG_USAGE)
    out = Terminal()
    for code, meaning in EXIT_CODES.items():
        for line in _entry(f"{code:>{_CODE_WIDTH}}", meaning):
            out.line(line)
    out.line()
    for line in textwrap.wrap(OF_RUN.replace("`", ""), help_width()):
        out.line(line)
    return OK


def _entry(code: str, meaning: str) -> list[str]:
    indent = " " * (_CODE_WIDTH + 2)
    plain = meaning.replace("`", "")
    return textwrap.wrap(plain, help_width(), initial_indent=f"{code}  ", subsequent_indent=indent)
