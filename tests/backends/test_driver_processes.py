"""Which process of a driver's list is this one: on the machine itself, in a container, and where that is not known."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from phasescope.backends import driver_processes
from phasescope.backends.driver_processes import shares

if TYPE_CHECKING:
    from pathlib import Path

OWN = 700
KNOWN = {"process_used_bytes": 30, "other_processes_bytes": 12}


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """/proc of a container in which this process has the number 700, and 701 is another."""
    for number in (OWN, OWN + 1):
        (tmp_path / str(number) / "ns").mkdir(parents=True)
        (tmp_path / str(number) / "ns" / "pid").touch()
    (tmp_path / "self").symlink_to(str(OWN))
    return tmp_path


@pytest.fixture
def on_the_machine(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inode = (proc / "self" / "ns" / "pid").stat().st_ino
    monkeypatch.setattr(driver_processes, "_MACHINES_PID_NAMESPACE", inode)


@pytest.mark.usefixtures("on_the_machine")
class TestOnTheMachine:
    def test_its_own_number_is_its_own(self, proc: Path) -> None:
        """Also where another user's processes are hidden."""
        assert shares({OWN: 30, 9_000: 12}, in_use=True, proc=proc) == KNOWN

    def test_one_that_is_not_listed_uses_nothing(self, proc: Path) -> None:
        assert shares({9_000: 12}, in_use=False, proc=proc) == {"process_used_bytes": 0, "other_processes_bytes": 12}

    def test_one_that_uses_the_device_and_is_not_listed_is_not_known(self, proc: Path) -> None:
        """As behind CUDA's multi-process service; another process is never taken for this one."""
        assert shares({9_000: 12}, in_use=True, proc=proc) == {}


class TestInAContainer:
    def test_a_list_of_the_containers_numbers_is_believed(self, proc: Path) -> None:
        assert shares({OWN: 30, OWN + 1: 12}, in_use=True, proc=proc) == KNOWN

    def test_a_list_of_the_machines_numbers_is_not(self, proc: Path) -> None:
        """One of them happens to be ours."""
        assert shares({OWN: 30, 9_000: 12}, in_use=True, proc=proc) == {}

    def test_the_only_process_of_a_device_in_use_is_this_one(self, proc: Path) -> None:
        expected = {"process_used_bytes": 30, "other_processes_bytes": 0}
        assert shares({9_000: 30}, in_use=True, proc=proc) == expected

    @pytest.mark.parametrize("listed", [{9_000: 30}, {}])
    def test_a_device_that_may_not_be_in_use_tells_nothing(self, proc: Path, listed: dict[int, int | None]) -> None:
        assert shares(listed, in_use=False, proc=proc) == {}

    def test_an_empty_list_of_a_device_in_use_tells_nothing(self, proc: Path) -> None:
        assert shares({}, in_use=True, proc=proc) == {}


def test_a_system_without_proc_has_one_kind_of_number(tmp_path: Path) -> None:
    assert shares({os.getpid(): 30, 1: 12}, in_use=True, proc=tmp_path / "none") == KNOWN


def test_what_the_driver_does_not_say_is_left_out(tmp_path: Path) -> None:
    assert shares({os.getpid(): 30, 1: None}, in_use=True, proc=tmp_path) == {"process_used_bytes": 30}
    assert shares({os.getpid(): None, 1: 12}, in_use=True, proc=tmp_path) == {"other_processes_bytes": 12}
