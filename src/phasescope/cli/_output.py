"""The output of commands: colour only on a terminal, its width, and only signs that its encoding has.

Whoever closes the pipe (`| head`) ends a command silently. An output that takes nothing for another reason ends it with
`OutputError`, which is not an OSError, so that nobody takes it for a failure of the file that is being read.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from typing import TYPE_CHECKING, TextIO

from phasescope.analysis.formatting import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}

# Replacements for our own signs in an encoding that lacks them.
_PLAIN = {"≥": ">=", "…": "~", "–": "-", "µ": "u", "×": "x", "→": "->", "│": "|", "±": "+/-", "▲": "^", "▼": "v"}


class OutputError(Exception):
    """The output of a command cannot be written."""


class Terminal:
    """A stream for a person, by default standard output.

    `width` is None if lines need not fit anything, as in a pipe.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout or _nowhere()
        on_terminal = self._stream.isatty()
        self.width = shutil.get_terminal_size().columns if on_terminal else None
        self._colour = on_terminal and _may_colour()
        self._replacements = _lacking(getattr(self._stream, "encoding", None) or "utf-8")
        reconfigure = getattr(self._stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")

    def line(self, text: str = "", style: str = "") -> None:
        """Write one line, at once: whoever reads the pipe sees it now. Raises OutputError, and BrokenPipeError."""
        try:
            self._stream.write(self.paint(text.translate(self._replacements), style) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _unwritten(error) from error

    def paint(self, text: str, style: str) -> str:
        """Return the text in a style such as `red` or `bold`, if colours are shown."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and self._colour else text


def errors() -> Terminal:
    """Return standard error."""
    return Terminal(sys.stderr or _nowhere())


def _nowhere() -> TextIO:
    """Return a stream that nobody reads, for one that was closed when Python began (`>&-`)."""
    return io.StringIO()


def complain(message: str) -> None:
    """Write one line on standard error, if that takes it."""
    with contextlib.suppress(OutputError, BrokenPipeError):
        errors().line("phasescope: " + printable(message))


def flush_output() -> None:
    """Bring out what others have printed. Raises OutputError, and BrokenPipeError."""
    if sys.stdout is None:  # closed by the shell, `>&-`
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritten(error) from error


def _unwritten(error: OSError) -> OutputError:
    return OutputError(f"the output cannot be written: {error.strerror or error}")


@contextlib.contextmanager
def verdict_stands() -> Iterator[None]:
    """Keep the verdict from a reader that has gone (`| head`): the output about it ends, and the verdict does not."""
    try:
        yield
    except BrokenPipeError:
        forget_output()


def forget_output() -> None:
    """Forget the output: nobody reads any more, and the buffered rest must not raise again when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _may_colour() -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return os.name != "nt" or "WT_SESSION" in os.environ  # the old Windows console shows the codes themselves


def _lacking(encoding: str) -> dict[int, str]:
    return {ord(sign): plain for sign, plain in _PLAIN.items() if not sign.encode(encoding, "ignore")}
