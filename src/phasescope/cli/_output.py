"""Where commands write: colour only on a terminal, its width, and only signs that its encoding has.

Whoever closes the pipe (`| head`) ends a command silently. An output that takes nothing for another reason ends it with
`OutputError`, which is no OSError, so that nobody takes it for a trouble of the file that is being read.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any, TextIO

from phasescope.analysis.formatting import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}

# What stands for our own signs where an encoding lacks them.
_PLAIN = {"≥": ">=", "…": "~", "–": "-", "µ": "u", "×": "x", "→": "->", "│": "|", "±": "+/-", "▲": "^", "▼": "v"}


class OutputError(Exception):
    """What a command has to say can not be written."""


class Terminal:
    """A stream for a person, by default standard output. `width` is None where lines need not fit anything, as in a
    pipe."""

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
        """The text in a style such as `red` or `bold`, where colours are shown."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and self._colour else text


def errors() -> Terminal:
    """Standard error."""
    return Terminal(sys.stderr or _nowhere())


def _nowhere() -> TextIO:
    """Where Python found the stream closed when it began (`>&-`), nobody reads."""
    return io.StringIO()


def complain(message: str) -> None:
    """One line on standard error, if that takes it."""
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
    return OutputError(f"the output can not be written: {error.strerror or error}")


@contextlib.contextmanager
def verdict_stands() -> Iterator[None]:
    """For what is shown of a verdict: a reader that has gone (`| head`) ends that, and not the verdict."""
    try:
        yield
    except BrokenPipeError:
        forget_output()


def forget_output() -> None:
    """Nobody reads any more: what is still buffered must not raise again when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Valid JSON in ASCII, whatever the value's strings hold; what is no number (NaN) is null."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(value), indent=indent)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _may_colour() -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return os.name != "nt" or "WT_SESSION" in os.environ  # the old Windows console shows the codes themselves


def _lacking(encoding: str) -> dict[int, str]:
    return {ord(sign): plain for sign, plain in _PLAIN.items() if not sign.encode(encoding, "ignore")}
