"""Where commands write: colour, width, and the signs that an encoding has."""

from __future__ import annotations

from typing import Any

import pytest

from phasescope.cli import (
    _output,
)


class Screen:
    """A stream that says it is a terminal, or is none."""

    def __init__(self, encoding: str, on_terminal: bool) -> None:
        self.encoding = encoding
        self.text = ""
        self._on_terminal = on_terminal

    def isatty(self) -> bool:
        return self._on_terminal

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


@pytest.mark.neutral
@pytest.mark.parametrize(
    ("on_terminal", "environment", "coloured"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colour_only_on_a_terminal_that_wants_it(
    on_terminal: bool, environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("WT_SESSION", "1")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    screen: Any = Screen("utf-8", on_terminal)
    _output.Terminal(screen).line("title", "bold")
    assert screen.text == ("\x1b[1mtitle\x1b[0m\n" if coloured else "title\n")


@pytest.mark.neutral
def test_signs_that_an_encoding_lacks_have_a_plain_form() -> None:
    screen: Any = Screen("ascii", False)
    _output.Terminal(screen).line("≥1.00 µs – a…b ×2")
    assert screen.text == ">=1.00 us - a~b x2\n"
    screen = Screen("ascii", False)
    _output.Terminal(screen).line("±5 ms ▲ worse ▼ better")
    assert screen.text == "+/-5 ms ^ worse v better\n"


@pytest.mark.neutral
def test_a_line_is_as_wide_as_the_terminal_and_in_a_pipe_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "73")
    screen: Any = Screen("utf-8", True)
    pipe: Any = Screen("utf-8", False)
    assert _output.Terminal(screen).width == 73
    assert _output.Terminal(pipe).width is None
