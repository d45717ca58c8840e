"""The machine's memory."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from phasescope.backends.meminfo import MEMINFO, MachineMemory

LINUX = Path(MEMINFO).exists() and hasattr(os, "pread")


@pytest.mark.neutral
def test_it_is_what_psutil_says() -> None:
    machine, known = MachineMemory().read(), psutil.virtual_memory()
    assert machine.total_bytes == known.total
    assert abs(machine.available_bytes - known.available) < 512 * 2**20  # other processes come and go


@pytest.mark.skipif(not LINUX, reason="the file is Linux's")
def test_the_lines_are_found_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text("Buffers: 7 kB\nMemAvailable:   300 kB\nMemTotal:       1000 kB\n")
    assert MachineMemory(path).read() == (1000 * 1024, 300 * 1024)


@pytest.mark.skipif(not LINUX, reason="the file is Linux's")
def test_more_available_than_there_is_counts_as_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal: 1000 kB\nMemAvailable: 2000 kB\n")
    assert MachineMemory(path).read() == (1000 * 1024, 1000 * 1024)


@pytest.mark.neutral
@pytest.mark.parametrize("text", [None, "", "MemTotal: 1000 kB\n", "MemTotal: 1000 kB\nMemAvailable: many kB\n"])
def test_where_the_file_does_not_tell_psutil_does(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "meminfo"
    if text is not None:
        path.write_text(text)
    assert MachineMemory(path).read().total_bytes == psutil.virtual_memory().total


def test_closing_it_is_no_end() -> None:
    memory = MachineMemory()
    first = memory.read()
    memory.close()
    assert memory.read().total_bytes == first.total_bytes
