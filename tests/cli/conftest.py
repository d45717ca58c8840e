"""What the tests of the commands share: a directory for rings, a training in it, and a command run on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from phasescope import cli
from support.commands import Training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "rings"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def training(directory: Path) -> Iterator[Training]:
    training = Training(directory)
    yield training
    training.close()


@pytest.fixture
def run(directory: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command on the test's directory; its exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        exit_code = cli.main([*arguments, "--dir", str(directory)])
        return exit_code, *capsys.readouterr()

    return run
