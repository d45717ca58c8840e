"""The `phasescope` command. One sub-command a file, imported only when it is chosen; its docstring is its
help.

A command file has `add_arguments(parser)` and `run(arguments) -> exit code`. One that hands the process over to a
program of the user's gives back, instead of an exit code, what is then to be called, and has
`split(arguments) -> (its own, those that are passed on untouched)`.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, NoReturn

from phasescope._version import VERSION

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
    "web",
    "report",
    "explain",
    "compare",
    "ranks",
    "run",
    "demo",
    "doctor",
    "clean",
)

OK = 0
NOT_FOUND = 1
WRONG_USAGE = 2
MISSING_DEPENDENCY = 3
PROBLEM = 4
NOT_COMPARABLE = 5
INTERRUPTED = 130

_EXIT_CODES = """exit codes: 0 ok, 1 nothing found or no such session, 2 wrong usage,
3 an optional dependency is missing, 4 something is wrong (explain, compare), 5 nothing could be compared (compare),
130 Ctrl-C (record: 0)"""
_NARROWEST_HELP, _WIDEST_HELP = 20, 100


class CommandError(Exception):
    """Ends a command with one line for a person and an exit code."""

    def __init__(self, message: str, exit_code: int = NOT_FOUND) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class _Parser(argparse.ArgumentParser):
    """argparse repeats what it does not understand, with whatever a terminal would obey in it."""

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
    parser = _Parser(
        prog=f"phasescope {arguments[0]}",
        description=_paragraphs(_help(module)),
        epilog=_paragraphs(_EXIT_CODES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    own, passed_on = module.split(arguments[1:]) if hasattr(module, "split") else (arguments[1:], [])
    done: int | Callable[[], int] = module.run(parser.parse_args(own, argparse.Namespace(passed_on=passed_on)))
    return done


def _without_command(arguments: list[str]) -> NoReturn:
    """--help, --version, and what is no command. Only here are all command files imported."""
    summaries = [
        (name, _help(importlib.import_module(f"phasescope.cli.{name}")).partition("\n")[0]) for name in COMMANDS
    ]
    parser = _Parser(
        prog="phasescope",
        usage="phasescope COMMAND [options]",
        description="Which phase of a training uses the memory: look at sessions of this user, live or dead.",
        epilog="commands:\n"
        + "".join(f"  {name:<9} {summary}\n" for name, summary in summaries)
        + f"\nphasescope COMMAND --help says more.\n{_paragraphs(_EXIT_CODES)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
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


def _paragraphs(text: str) -> str:
    """The text filled anew to the terminal's width, as argparse does it for one paragraph only."""
    width = max(_NARROWEST_HELP, min(shutil.get_terminal_size().columns, _WIDEST_HELP) - 2)
    return "\n\n".join(textwrap.fill(" ".join(part.split()), width) for part in text.split("\n\n"))
