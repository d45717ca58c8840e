"""Which packages are installed: a folder of the same name is not one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from phasescope.integrations._frameworks import framework

from phasescope._packages import is_installed, is_there

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of runs, beside the script as Python sees it."""
    monkeypatch.syspath_prepend(tmp_path)
    runs = tmp_path / "runs_of_a_tracker"
    (runs / "latest").mkdir(parents=True)
    monkeypatch.delitem(sys.modules, runs.name, raising=False)
    return runs


def test_a_folder_without_code_is_not_a_package(folder: Path) -> None:
    assert not is_installed(folder.name)
    assert is_there(folder.name), "others may install theirs into it"


def test_a_package_and_a_module_are(folder: Path) -> None:
    (folder.parent / "one_file.py").touch()
    (folder / "__init__.py").touch()
    assert is_installed(folder.name)
    assert is_installed("one_file")


def test_what_lies_in_a_package_is_asked_for_by_its_whole_name(folder: Path) -> None:
    (folder / "latest" / "log.py").touch()
    assert is_installed(f"{folder.name}.latest.log")
    assert not is_installed(f"{folder.name}.earliest")
    assert not is_installed("a_package_that_nobody_wrote.latest")


def test_what_is_forbidden_is_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "__init__.py").touch()
    monkeypatch.setitem(sys.modules, folder.name, None)
    assert not is_installed(folder.name)


def test_an_integration_does_not_take_a_folder_for_its_framework(folder: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="needs runs_of_a_tracker: pip install it"):
        framework("keras", folder.name, pip="it")
    sys.modules.pop(folder.name)
    (folder / "__init__.py").touch()
    assert framework("keras", folder.name, pip="it").__name__ == folder.name
    sys.modules.pop(folder.name)
