"""The host beyond the resident set: workers, shared and proportional memory, swap, and the kernel's high-water mark."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import phasescope
from phasescope import phase
from phasescope.backends.child_processes import ProcessNames, descendants
from phasescope.backends.cpu import Cpu
from phasescope.backends.host_details import HostExtra
from phasescope.backends.host_peak import HighWater
from phasescope.backends.host_private import PrivateSets
from support.assertions import events_of, exit_of
from support.fakes.processes import in_forked_child, in_new_python
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from phasescope.testing import FakeClock

MIB = 2**20
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
_WORKER = "import sys; block = bytearray({size}); print(flush=True); sys.stdin.read()"


def worker(code: str) -> subprocess.Popen[bytes]:
    """A child that runs `code`, which prints a line once it is there and ends with its input."""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    return child


def end(child: subprocess.Popen[bytes]) -> None:
    child.communicate()


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [worker(_WORKER.format(size=60 * MIB)) for _ in range(2)]
    yield started
    for child in started:
        end(child)


class TestWorkers:
    @pytest.mark.neutral
    @pytest.mark.parametrize("proc", ["/proc", "/no/such/place"])
    def test_children_are_found_and_summed(self, children: list[subprocess.Popen[bytes]], proc: str) -> None:
        """Also where there is no /proc, as on macOS and Windows."""
        assert {child.pid for child in children} <= set(descendants(proc))
        pages = os.sysconf("SC_PAGE_SIZE") if proc == "/proc" and hasattr(os, "sysconf") else 0
        extra = HostExtra(proc, page_bytes=pages).read()
        resident = sum(psutil.Process(child.pid).memory_info().rss for child in children)
        assert extra["children"] == 2
        assert abs(extra["children_resident_bytes"] - resident) < 8 * MIB

    def test_a_child_that_has_ended_is_left_for_whoever_waits_for_it(self) -> None:
        child = worker("raise SystemExit(3)")
        pid = child.pid
        until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        assert pid in descendants()
        end(child)
        assert child.returncode == 3

    def test_without_a_child_there_are_none(self) -> None:
        code = "from phasescope.backends.child_processes import descendants; print(descendants())"
        assert in_new_python(code).strip() == "[]"

    def test_grandchildren_count_too(self) -> None:
        before = len(descendants())
        inner = _WORKER.format(size=30 * MIB)
        child = worker(
            "import subprocess, sys; pipe = subprocess.PIPE;"
            f"inner = subprocess.Popen([sys.executable, '-c', {inner!r}], stdin=pipe, stdout=pipe);"
            "inner.stdout.readline(); print(flush=True); sys.stdin.read(); inner.communicate()"
        )
        try:
            assert len(descendants()) - before == 2
        finally:
            end(child)

    @linux
    def test_forked_workers_are_not_counted_twice_in_the_proportional_sum(self) -> None:
        """Each of them shares the parent's block, which their resident sets all count."""
        code = """
            import json, os
            from phasescope.backends.cpu import Cpu
            block = bytearray(os.urandom(1) * (100 * 2**20))
            pipes = [os.pipe() for _ in range(3)]
            pids = []
            for reader, writer in pipes:
                pid = os.fork()
                if pid == 0:
                    os.close(writer)
                    block[::4096].count(0)
                    os.read(reader, 1)
                    os._exit(0)
                pids.append(pid)
            print(json.dumps(Cpu().extra()))
            for reader, writer in pipes:
                os.write(writer, b"x")
            for pid in pids:
                os.waitpid(pid, 0)
        """
        extra = json.loads(in_new_python(code, "-W", "ignore"))
        assert extra["children"] == 3
        assert extra["children_resident_bytes"] > 300 * MIB
        assert extra["children_proportional_bytes"] < 150 * MIB
        assert extra["proportional_bytes"] < 100 * MIB

    @linux
    def test_a_zombie_and_a_child_that_ended_hold_nothing(self) -> None:
        child = worker(_WORKER.format(size=MIB))
        end_now = child.stdin
        assert end_now is not None
        end_now.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        extra = HostExtra(page_bytes=4096).read()
        assert (extra["children"], extra["children_resident_bytes"]) == (0, 0)
        child.wait()
        assert child.stdout is not None
        child.stdout.close()

    @linux
    @pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")
    def test_data_loader_workers_appear_in_a_sample(self) -> None:
        code = """
            import json, torch, phasescope
            from phasescope.testing import sample

            class Heavy(torch.utils.data.Dataset):
                def __len__(self):
                    return 8
                def __getitem__(self, index):
                    self.kept = torch.ones(60 * 2**20 // 4)
                    return index

            session = phasescope.start(interval_ms=3_600_000, directory=None)
            loader = torch.utils.data.DataLoader(Heavy(), num_workers=2, persistent_workers=True)
            for _ in loader:
                pass
            host = session._sampler._collectors.admitted[-1]
            host.states[-1].extra_at_ns = None
            host.backend._extra._due_ns = 0  # it was asked a moment ago, when the session began
            sample(session)
            print(json.dumps([e["metadata"] for e in session.events() if e["event_type"] == "sample"][-1]))
        """
        metadata = json.loads(in_new_python(code))
        assert metadata["children"] == 2
        assert metadata["children_resident_bytes"] > 2 * 60 * MIB


class Clocks:
    """The time of day, and how long one has worked, which each asks at the beginning and at the end of it."""

    def __init__(self, waits_ms: int = 0) -> None:
        self._now_ns = 0
        self._waits_ns = waits_ms * 1_000_000

    def at(self, *seconds: float) -> Iterator[None]:
        for second in seconds:
            self._now_ns = round(second * 1e9)
            yield

    def monotonic_ns(self) -> int:
        return self._now_ns

    def waiting(self, _proc: object) -> list[int]:
        self._now_ns += self._waits_ns
        return []

    def working(self, ms: int) -> Callable[[], int]:
        ticks = itertools.count()
        return lambda: next(ticks) * ms * 1_000_000


class TestExtra:
    @linux
    def test_shared_and_proportional_memory_are_the_kernels(self) -> None:
        child = worker(_WORKER.format(size=MIB))
        try:
            extra = Cpu().extra()
            memory = psutil.Process().memory_full_info()
        finally:
            end(child)
        assert abs(extra["shared_bytes"] - memory.shared) < 8 * MIB
        assert abs(extra["proportional_bytes"] - memory.pss) < 16 * MIB
        assert abs(extra["swap_bytes"] - memory.swap) < 8 * MIB

    def test_without_children_nobody_walks_the_page_tables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("phasescope.backends.host_details.descendants", lambda _proc: [])
        assert "proportional_bytes" not in Cpu().extra()

    def test_the_proportional_set_is_measured_only_as_often_as_it_is_cheap(self, tmp_path: Path) -> None:
        own = tmp_path / str(os.getpid())
        tasks = own / "task" / str(os.getpid())
        tasks.mkdir(parents=True)
        (tasks / "children").write_text("99999999 ")
        (own / "smaps_rollup").write_text(
            "00400000-7ffd00000000 ---p 00000000 00:00 0 [rollup]\nRss: 9 kB\nPss: 5 kB\n"
        )
        (tmp_path / "99999999").mkdir()
        (tmp_path / "99999999" / "statm").write_text("30 9 5 1 0 9 0\n")
        clock = Clocks()
        host = HostExtra(tmp_path, page_bytes=4096, monotonic_ns=clock.monotonic_ns, cpu_ns=clock.working(ms=2))
        told = ["proportional_bytes" in host.read() for _ in clock.at(0, 1.9, 2.1)]
        assert told == [True, False, True]

    @pytest.mark.parametrize(("works_ms", "waits_ms"), [(50, 0), (0, 5_000)])
    def test_where_all_of_it_is_slow_it_is_asked_for_less_often(
        self, works_ms: int, waits_ms: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clocks(waits_ms)
        monkeypatch.setattr("phasescope.backends.host_details.descendants", clock.waiting)
        host = HostExtra("/nowhere", monotonic_ns=clock.monotonic_ns, cpu_ns=clock.working(works_ms))
        assert [bool(host.read()) for _ in clock.at(0, 49, 56)] == [True, False, True]

    def test_what_the_system_does_not_tell_is_left_out(self, tmp_path: Path) -> None:
        own = tmp_path / str(os.getpid())
        (own / "task" / str(os.getpid())).mkdir(parents=True)
        (own / "task" / str(os.getpid()) / "children").touch()
        (own / "status").write_text("Name:\tpython\nVmRSS:\t 9 kB\n")
        assert HostExtra(tmp_path, page_bytes=4096).read() == {"children": 0, "children_resident_bytes": 0}

    def test_samples_carry_it_and_boundaries_do_not(self, clock: FakeClock) -> None:
        with phasescope.start(clock=clock, interval_ms=3_600_000) as session:
            with phase("step"):
                pass
            sampled = events_of(session, "sample")[-1]
            leave = exit_of(session, "step")
        assert sampled["metadata"]["children"] == 0
        assert "children" not in leave["metadata"]


class TestPeaks:
    @linux
    def test_a_peak_is_the_most_since_it_was_reset(self) -> None:
        cpu = Cpu()
        try:
            cpu.reset_peak()
            before = cpu.peak()
            block: Any = bytearray(100 * MIB)
            del block
            assert cpu.peak() - before > 90 * MIB
            cpu.reset_peak()
            assert cpu.peak() - before < 50 * MIB
        finally:
            cpu.close()

    @linux
    def test_phases_on_the_host_have_exact_peaks_that_nest(self, clock: FakeClock) -> None:
        with phasescope.start(backends=["cpu"], clock=clock, interval_ms=3_600_000, peaks=True) as session:
            with phase("step"):
                with phase("spike"):
                    block: Any = bytearray(100 * MIB)
                    del block
                with phase("calm"):
                    pass
            exits = {path: exit_of(session, path) for path in ("step", "step/spike", "step/calm")}
        above = {
            path: e["metadata"]["phase_scope"]["peak_allocated_bytes"] - e["allocator_allocated_bytes"]
            for path, e in exits.items()
        }
        assert above["step/spike"] > 90 * MIB
        assert above["step"] > 90 * MIB
        assert above["step/calm"] < 50 * MIB

    def test_a_system_that_has_no_mark_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "status").write_text("Name:\tpython\n")
        for status in (tmp_path / "status", tmp_path / "missing"):
            high_water = HighWater(status, tmp_path / "clear_refs")
            with pytest.raises(NotImplementedError):
                high_water.read()
            with pytest.raises(NotImplementedError):
                high_water.reset()
            high_water.close()

    @linux
    def test_a_forked_child_has_its_own(self) -> None:
        cpu = Cpu()
        cpu.reset_peak()
        parent = cpu.peak()

        def in_child() -> int:
            cpu.reset_peak()
            before = cpu.peak()  # a child may start out smaller
            block: Any = bytearray(100 * MIB)
            del block
            grown = cpu.peak() - before
            cpu.close()
            return grown

        assert in_forked_child(in_child) > 50 * MIB
        assert cpu.peak() - parent < 50 * MIB
        cpu.close()

    @linux
    def test_a_glance_tells_what_is_mapped(self) -> None:
        host = Cpu()
        host.allocator()
        assert abs(host.glance()["shared_bytes"] - psutil.Process().memory_info().shared) < 8 * MIB
        host.close()


class TestPrivate:
    def sets(self, proc: Path, sizes: dict[int, int], took_ns: int = 0) -> PrivateSets:
        for pid, size in sizes.items():
            (proc / str(pid)).mkdir(exist_ok=True)
            text = f"0-1 ---p 0 00:00 0 [rollup]\nPss: 9 kB\nPrivate_Dirty: {size} kB\nSwap: 1 kB\n"
            (proc / str(pid) / "smaps_rollup").write_text(text)
        ticks = itertools.count()
        return PrivateSets(proc, cpu_ns=lambda: next(ticks) * took_ns)

    def test_it_is_what_was_written_and_what_of_it_is_swapped_out(self, tmp_path: Path) -> None:
        sets = self.sets(tmp_path, {7: 20, 8: 30})
        assert sets.measure([7, 8], 0) == [7, 8]
        assert [sets.latest[pid].private for pid in (7, 8)] == [21 * 1024, 31 * 1024]

    def test_children_take_turns_within_a_250th_of_the_time_and_more_often_at_first(self, tmp_path: Path) -> None:
        sets = self.sets(tmp_path, dict.fromkeys(range(1, 41), 5), took_ns=4_000_000)
        turns = [sets.measure(range(1, 41), second * 10**9) for second in range(100)]
        assert turns[0] == [1, 2, 3, 4, 5]
        assert sum(map(len, turns)) == 5 + 45 + 99
        assert max(map(len, turns)) == 5
        assert set(itertools.chain(*turns)) == set(range(1, 41))

    def test_one_that_has_ended_is_forgotten_and_the_others_go_on(self, tmp_path: Path) -> None:
        sets = self.sets(tmp_path, {7: 20})
        assert sets.measure([7, 8], 0) == [7]
        assert sets.is_readable
        assert sets.measure([8], 10**9) == []
        assert not sets.latest

    def test_where_none_can_be_read_what_is_not_mapped_is_told(self, children: list[Any], tmp_path: Path) -> None:
        for child in children:
            (tmp_path / str(child.pid)).mkdir()
            (tmp_path / str(child.pid) / "statm").write_text("90 30 10 1 0 9 0\n")
        own = tmp_path / str(os.getpid()) / "task" / str(os.getpid())
        own.mkdir(parents=True)
        (own / "children").write_text(" ".join(str(child.pid) for child in children))
        host = HostExtra(tmp_path, page_bytes=4096, monotonic_ns=lambda: 0)
        assert host.read()["children_unshared_bytes"] == [[child.pid, 20 * 4096] for child in children]

    def test_names_are_counted(self, tmp_path: Path) -> None:
        for pid, name in enumerate(("pt_data_worker", "pt_data_worker", "cc1plus")):
            (tmp_path / str(pid)).mkdir()
            (tmp_path / str(pid) / "comm").write_text(name + "\n")
        assert ProcessNames(tmp_path).of([0, 1, 2, 3]) == {"pt_data_worker": 2, "cc1plus": 1}
