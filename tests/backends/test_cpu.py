"""The host's figures, real ones wherever this machine has them."""

from __future__ import annotations

import mmap
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from phasescope.backends.cgroup import MemoryCgroup
from phasescope.backends.cpu import STATM, Cpu
from phasescope.backends.host_details import HostExtra
from phasescope.backends.protocol import HOST_DEVICE, DeviceCounters
from support.fakes.processes import in_forked_child, in_new_python, open_files_below

if TYPE_CHECKING:
    from phasescope.backends.protocol import Backend

MIB = 1024 * 1024
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def allocated_bytes(cpu: Cpu) -> int:
    return cpu.allocator(HOST_DEVICE)[0]


def touched(mebibytes: int) -> bytearray:
    """Memory of which every page was written, so that it is resident."""
    block = bytearray(mebibytes * MIB)
    for page in range(0, len(block), 4096):
        block[page] = 1
    return block


def no_cgroup(folder: Path) -> MemoryCgroup:
    return MemoryCgroup(folder / "none", folder / "none")


@pytest.mark.neutral
def test_it_is_a_backend_with_the_hosts_one_device() -> None:
    backend: Backend = Cpu()
    assert backend.name == "cpu"
    assert backend.ready()
    assert list(backend.devices()) == [HOST_DEVICE]
    assert backend.current_device() == HOST_DEVICE
    assert backend.identity(HOST_DEVICE) is None
    assert backend.why_not() is None
    assert set(backend.unavailable) == {"allocator_active_bytes", "allocator_inactive_bytes"}


@pytest.mark.neutral
def test_the_resident_set_grows_with_memory_that_is_touched_and_drops_when_it_is_freed() -> None:
    cpu = Cpu()
    before = allocated_bytes(cpu)
    block = touched(200)
    during = allocated_bytes(cpu)
    del block
    after = allocated_bytes(cpu)
    assert during - before >= 190 * MIB
    assert during - after >= 190 * MIB


@pytest.mark.neutral
def test_reserved_equals_allocated_and_the_rest_is_unknown() -> None:
    allocated, reserved, active, inactive = Cpu().allocator(HOST_DEVICE)
    assert (reserved, active, inactive) == (allocated, None, None)


@pytest.mark.neutral
@pytest.mark.parametrize("statm", [STATM, "no/such/file"])
def test_the_resident_set_is_that_of_psutil(statm: str) -> None:
    """Also where there is no /proc, as on macOS and Windows."""
    resident_bytes = psutil.Process().memory_info().rss
    assert abs(allocated_bytes(Cpu(statm=statm)) - resident_bytes) < 16 * MIB


@pytest.mark.neutral
def test_the_machines_figures_add_up(tmp_path: Path) -> None:
    used, free, total = Cpu(cgroup=no_cgroup(tmp_path)).device(HOST_DEVICE)
    assert used is not None
    assert free is not None
    assert total == psutil.virtual_memory().total
    assert used > 0
    assert used + free == total


@pytest.mark.neutral
def test_figures_of_wherever_this_runs_stay_within_the_machines() -> None:
    used, free, total = Cpu().device(HOST_DEVICE)
    assert used is not None
    assert free is not None
    assert total is not None
    assert 0 < total <= psutil.virtual_memory().total
    assert 0 <= used <= total
    assert 0 <= free <= total - used


@linux
class TestInAContainer:
    @staticmethod
    def device(folder: Path, limit_bytes: int, usage_bytes: int, inactive_file_bytes: int = 0) -> DeviceCounters:
        (folder / "membership").write_text("0::/\n")
        (folder / "memory.max").write_text(f"{limit_bytes}\n")
        (folder / "memory.current").write_text(f"{usage_bytes}\n")
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {inactive_file_bytes}\n")
        return Cpu(cgroup=MemoryCgroup(folder, folder / "membership")).device(HOST_DEVICE)

    def test_the_limit_is_the_total(self, tmp_path: Path) -> None:
        figures = self.device(tmp_path, 64 * MIB, 40 * MIB, 10 * MIB)
        assert figures == DeviceCounters(30 * MIB, 34 * MIB, 64 * MIB)

    def test_use_beyond_a_limit_that_was_lowered_is_the_whole_of_it(self, tmp_path: Path) -> None:
        figures = self.device(tmp_path, 64 * MIB, 80 * MIB)
        assert figures == DeviceCounters(64 * MIB, 0, 64 * MIB)

    def test_no_more_is_free_than_the_machine_has(self, tmp_path: Path) -> None:
        machine = psutil.virtual_memory()
        used, free, total = self.device(tmp_path, machine.total - 1, 0)
        assert (used, total) == (0, machine.total - 1)
        assert free is not None
        assert free < machine.total - 1
        assert abs(free - machine.available) < 512 * MIB

    def test_a_limit_beyond_the_machine_is_none(self, tmp_path: Path) -> None:
        total_bytes = psutil.virtual_memory().total
        assert self.device(tmp_path, total_bytes + 1, 40 * MIB).total_bytes == total_bytes


@forks
class TestFork:
    def test_in_a_child_it_speaks_of_the_child(self) -> None:
        cpu = Cpu()
        before = allocated_bytes(cpu)

        def growth_in_child() -> int:
            start = allocated_bytes(cpu)  # only what the child has touched, or all: systems differ
            block = touched(100)
            grown = allocated_bytes(cpu)
            del block
            return grown - start

        assert in_forked_child(growth_in_child) >= 90 * MIB
        assert allocated_bytes(cpu) - before < 60 * MIB

    def test_also_where_psutil_answers(self) -> None:
        cpu = Cpu(statm="no/such/file")
        allocated_bytes(cpu)

        def resident_bytes() -> tuple[int, int]:
            block = touched(100)
            figures = allocated_bytes(cpu), psutil.Process().memory_info().rss
            del block
            return figures

        ours, expected = in_forked_child(resident_bytes)
        assert abs(ours - expected) < 16 * MIB

    @linux
    def test_in_a_child_the_details_are_the_childs(self) -> None:
        """The files stay open, and the parent's go on to show the parent's figures."""
        cpu = Cpu()
        cpu._extra = HostExtra(monotonic_ns=int, cpu_ns=int)
        before = cpu.extra()["shared_memory_bytes"]

        def shared_in_child() -> int:
            block = mmap.mmap(-1, 64 * MIB)
            for page in range(0, 64 * MIB, 4096):
                block[page] = 1
            shared = int(cpu.extra()["shared_memory_bytes"])
            block.close()
            return shared

        assert in_forked_child(shared_in_child) >= 64 * MIB
        assert cpu.extra()["shared_memory_bytes"] == before

    def test_a_child_forked_while_another_thread_held_the_lock_is_not_stuck(self) -> None:
        cpu = Cpu()
        with cpu._lock:
            assert in_forked_child(lambda: allocated_bytes(cpu)) > 0


@linux
class TestDescriptors:
    @staticmethod
    def opened() -> list[int]:
        return open_files_below(Path(f"/proc/{os.getpid()}/statm"))

    def test_constructing_opens_none_and_calls_open_one(self) -> None:
        cpu = Cpu()
        assert self.opened() == []
        for _ in range(3):
            allocated_bytes(cpu)
        assert len(self.opened()) == 1

    def test_close_closes_it_and_a_later_call_opens_it_again(self) -> None:
        cpu = Cpu()
        allocated_bytes(cpu)
        cpu.close()
        cpu.close()
        assert self.opened() == []
        assert allocated_bytes(cpu) > 0

    def test_it_is_closed_with_the_object(self) -> None:
        cpu = Cpu()
        allocated_bytes(cpu)
        del cpu
        assert self.opened() == []

    def test_one_that_someone_else_closed_is_opened_again(self) -> None:
        cpu = Cpu()
        allocated_bytes(cpu)
        os.close(self.opened()[0])
        assert [allocated_bytes(cpu) > 0 for _ in range(3)] == [True] * 3
        assert len(self.opened()) == 1

    def test_one_that_became_somebody_elses_file_is_left_to_them(self, tmp_path: Path) -> None:
        cpu = Cpu()
        allocated_bytes(cpu)
        fd = self.opened()[0]
        with (tmp_path / "theirs").open("w+") as theirs:
            theirs.write("not ours")
            theirs.flush()
            os.dup2(theirs.fileno(), fd)
            assert allocated_bytes(cpu) > MIB
            cpu.close()
            del cpu
            assert os.pread(fd, 20, 0) == b"not ours"
            os.close(fd)

    def test_threads_that_call_at_once_open_one(self) -> None:
        cpu = Cpu()
        barrier = threading.Barrier(8)
        figures: list[int] = []

        def call() -> None:
            barrier.wait()
            figures.append(allocated_bytes(cpu))

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len([figure for figure in figures if figure > MIB]) == 8
        assert len(self.opened()) == 1


@linux
def test_no_child_of_an_exec_inherits_a_descriptor() -> None:
    code = """
        import os, subprocess
        from phasescope.backends.cpu import Cpu
        cpu = Cpu()
        cpu.allocator(-1), cpu.device(-1)
        print(subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, text=True).stdout)
    """
    listing = in_new_python(code)
    assert "statm" not in listing
    assert "cgroup" not in listing


@pytest.mark.neutral
def test_importing_and_constructing_it_loads_no_psutil() -> None:
    code = "import sys; from phasescope.backends.cpu import Cpu; Cpu(); print('psutil' in sys.modules)"
    assert in_new_python(code) == "False"
