"""The `phasescope` command. One sub-command a file, imported only when it is chosen; its docstring is its
help.

A command file has `add_arguments(parser)` and `run(arguments) -> exit code`. One that hands the process over to a
program of the user's returns, instead of an exit code, a function to be called next, and has
`split(arguments) -> (its own, those that are passed on untouched)`.

May import every other room, each command only what it needs.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, NoReturn

from phasescope._version import VERSION
from phasescope.cli._exit_codes import (
    INTERRUPTED,
    MISSING_DEPENDENCY,
    NO_ANSWER,
    NOT_COMPARABLE,
    NOT_FOUND,
    OK,
    PROBLEM,
    WRONG_USAGE,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

COMMANDS = (
    "ls",
    "top",
    "tail",
    "summary",
    "record",
    "convert",
    "export",
    "watch",
    "web",
    "report",
    "explain",
    "compare",
    "snapshot",
    "fit",
    "ranks",
    "run",
    "demo",
    "doctor",
    "clean",
    "help",
)

__all__ = [
    "COMMANDS",
    "INTERRUPTED",
    "MISSING_DEPENDENCY",
    "NOT_COMPARABLE",
    "NOT_FOUND",
    "NO_ANSWER",
    "OK",
    "PROBLEM",
    "WRONG_USAGE",
    "CommandError",
    "command_parser",
    "help_width",
    "main",
]

_EXIT_CODES = "exit codes: phasescope help exit-codes"
_NARROWEST_HELP, _WIDEST_HELP = 20, 80


class CommandError(Exception):
    """Ends a command with one line for a person and an exit code."""

    def __init__(self, message: str, exit_code: int = NOT_FOUND) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=help_width())


class _Parser(argparse.ArgumentParser):
    """argparse repeats arguments that it does not understand, with anything in them that a terminal would obey."""

    def error(self, message: str) -> NoReturn:
        from phasescope.analysis.formatting import printable

        super().error("\n".join(map(printable, message.split("\n"))))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. A closed pipe ends it silently."""
    from phasescope.cli._output import (
        OutputError,
        complain,
        flush_output,
        forget_output,
    )

    try:
        done = _run(list(sys.argv[1:] if argv is None else argv))
        flush_output()
    except CommandError as error:
        complain(str(error))
        return error.exit_code
    except OutputError as error:
        forget_output()
        complain(str(error))
        return NOT_FOUND
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        forget_output()
        return OK
    except SystemExit as error:  # argparse: 0 after --help, 2 for wrong usage
        return error.code if isinstance(error.code, int) else WRONG_USAGE
    return done if isinstance(done, int) else done()


def _run(arguments: list[str]) -> int | Callable[[], int]:
    if not arguments or arguments[0] not in COMMANDS:
        _without_command(arguments)
    module = importlib.import_module(f"phasescope.cli.{arguments[0]}")
    parser = command_parser(arguments[0], module)
    own, passed_on = module.split(arguments[1:]) if hasattr(module, "split") else (arguments[1:], [])
    done: int | Callable[[], int] = module.run(parser.parse_args(own, argparse.Namespace(passed_on=passed_on)))
    return done


def command_parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    """Return the parser of a command's own arguments."""
    from phasescope.cli._examples import examples

    parser = _Parser(
        prog=f"phasescope {name}",
        description=_paragraphs(_help(module)),
        epilog=f"{examples(name)}\n\n{_EXIT_CODES}",
        formatter_class=_Help,
    )
    module.add_arguments(parser)
    return parser


def _without_command(arguments: list[str]) -> NoReturn:
    """Answer --help, --version, and a word that is not a command. Only here are all command files imported."""
    summaries = [
        (name, _help(importlib.import_module(f"phasescope.cli.{name}")).partition("\n")[0]) for name in COMMANDS
    ]
    parser = _Parser(
        prog="phasescope",
        usage="phasescope COMMAND [options]",
        description=_paragraphs(
            "Which phase of a training uses the memory: look at sessions of this user, live or dead."
        ),
        epilog="commands:\n"
        + "".join(f"{_entry(name, summary)}\n" for name, summary in summaries)
        + f"\nphasescope COMMAND --help says more.\n{_EXIT_CODES}",
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"phasescope {VERSION}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help=argparse.SUPPRESS)
    if not arguments:
        parser.print_help(sys.stderr)
        sys.exit(WRONG_USAGE)
    parser.parse_args(arguments[:1])
    parser.error("a command is needed")


def _help(module: ModuleType) -> str:
    return (module.__doc__ or "").strip()


def _entry(name: str, summary: str) -> str:
    """Return a command of the list, in as many lines as its summary needs."""
    return textwrap.fill(summary, help_width(), initial_indent=f"  {name:<9} ", subsequent_indent=" " * 12)


def help_width() -> int:
    """Return the columns that help is written for: those of the terminal, as far as a line is easily read."""
    return max(_NARROWEST_HELP, min(shutil.get_terminal_size().columns, _WIDEST_HELP) - 2)


def _paragraphs(text: str) -> str:
    """Return the text filled to the terminal's width again, as argparse does it for one paragraph only."""
    width = help_width()
    return "\n\n".join(
        textwrap.fill(" ".join(part.split()), width, break_on_hyphens=False) for part in text.split("\n\n")
    )
