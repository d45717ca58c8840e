"""The pytest plugin, in runs of pytest in processes of their own."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.waiting import CEILING_S

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = ("-p", "phasescope.integrations.pytest")

BUDGETS = """
import pytest, phasescope
from phasescope import phase

MB = 10**6
budget = pytest.mark.memory_budget

def spike(mb):
    b"x" * (mb * MB)  # every page of it is touched, and it is gone again at once

@budget("400 MB", above_start=True)
def test_kept():
    spike(50)

@budget("20 MB", above_start=True)
def test_over():
    spike(100)

@budget(10 * MB)
def test_over_by_all_that_the_process_holds():
    pass

@budget("50 MB", phase="forward", above_start=True)
def test_other_phases_do_not_count():
    with phase("epoch"):
        with phase("load"):
            spike(100)
        with phase("forward"):
            spike(5)

@budget("50 MB", phase="epoch/forward", above_start=True)
def test_phase_over():
    with phase("epoch"):
        with phase("forward"):
            spike(100)

@budget("50 MB", phase="backward")
def test_no_such_phase():
    with phase("forward"):
        pass

@budget("50 MB", device="cuda:0")
def test_no_such_device():
    pass

@budget("1 GB", above_start=True)
@budget("50 MB", phase="forward", above_start=True)
def test_the_tighter_of_two():
    with phase("forward"):
        spike(100)

@budget("1 MB")
def test_fails_by_itself():
    assert 1 == 2

@budget("1 MB")
def test_skipped():
    pytest.skip("not today")

def test_fixture(phasescope):
    with phase("forward"):
        pass
    assert [row.path for row in phasescope.summary().rows] == [("forward",)]

@budget("1 TB")
def test_fixture_of_a_marked_one(phasescope):
    assert phasescope is __import__("phasescope").current()

def test_unmarked():
    assert phasescope.current() is None

def test_no_session_is_left():
    assert phasescope.current() is None
"""

ON_DEVICES = """
import pytest, phasescope
from phasescope import phase
from phasescope.testing import FakeBackend

MB = 10**6
budget = pytest.mark.memory_budget
gpu = FakeBackend("cuda", allocated=100 * MB, devices=[0, 1])

@pytest.fixture(scope="module", autouse=True)
def session():
    with phasescope.start(backends=[gpu], peaks=True) as session:
        with phase("an earlier one"):
            gpu.allocate(900 * MB)
            gpu.allocate(-900 * MB)
        yield session

def spike():
    with phase("forward"):
        gpu.allocate(200 * MB)
        gpu.allocate(-200 * MB)

@budget("301 MB")
@budget("301 MB", phase="forward", device="cuda")
@budget("201 MB", phase="forward", device="cuda:0", above_start=True)
def test_kept(): spike()

@budget("299 MB", device="cuda:0")
def test_over(): spike()

@budget("1 MB", device="host")
def test_host_over(session):
    spike()

def test_the_session_still_runs(session):
    assert phasescope.current() is session
"""


def run(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
    )


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return dict(re.findall(r"^test_it\.py::(\w+) (PASSED|FAILED|SKIPPED|ERROR)", done.stdout, re.MULTILINE))


def section(done: subprocess.CompletedProcess[str], test: str) -> str:
    """What pytest prints of one failed test."""
    found = re.search(rf"^_+ {test} _+$(.*?)(?=^_+ test_|^=+ )", done.stdout, re.MULTILINE | re.DOTALL)
    assert found, done.stdout
    return found[1]


@pytest.fixture(scope="module")
def budgets(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    return run(tmp_path_factory.mktemp("budgets"), BUDGETS, *PLUGIN, "-v")


def test_a_test_fails_where_its_peak_goes_over(budgets: subprocess.CompletedProcess[str]) -> None:
    failed = {name for name, outcome in outcomes(budgets).items() if outcome == "FAILED"}
    assert failed == {
        *("test_over", "test_over_by_all_that_the_process_holds", "test_phase_over", "test_no_such_phase"),
        *("test_no_such_device", "test_the_tighter_of_two", "test_fails_by_itself"),
    }
    assert len(outcomes(budgets)) == 14


def test_the_failure_says_by_how_much_and_shows_the_table(budgets: subprocess.CompletedProcess[str]) -> None:
    text = section(budgets, "test_phase_over")
    found = re.search(
        r"memory_budget\('50 MB', phase='epoch/forward', above_start=True\): "
        r"the peak of epoch/forward on host was (?:at least )?([\d.]+) MiB above the [\d.]+ MiB of the start",
        text,
    )
    assert found
    assert 90 < float(found[1]) < 200
    for name in ("phase ", "test ", "  epoch ", "    forward ", "device ", "host "):
        assert re.search(rf"^{name}", text, re.MULTILINE), name
    assert "Traceback" not in text
    assert "test_it.py" not in text


def test_what_can_not_be_judged_fails_and_says_what_there_is(budgets: subprocess.CompletedProcess[str]) -> None:
    assert "no such phase was entered; there were: forward" in section(budgets, "test_no_such_phase")
    assert "nothing was measured on that device, only on: host" in section(budgets, "test_no_such_device")


def test_of_two_budgets_only_the_broken_one_is_named(budgets: subprocess.CompletedProcess[str]) -> None:
    text = section(budgets, "test_the_tighter_of_two")
    assert "'50 MB'" in text
    assert "'1 GB'" not in text


def test_a_test_that_fails_by_itself_keeps_its_own_failure(budgets: subprocess.CompletedProcess[str]) -> None:
    text = section(budgets, "test_fails_by_itself")
    assert "assert 1 == 2" in text
    assert "memory_budget" not in text.replace('@budget("1 MB")', "")


def test_budgets_of_devices_within_a_session_that_runs_already(tmp_path: Path) -> None:
    done = run(tmp_path, ON_DEVICES, *PLUGIN, "-v")
    assert outcomes(done) == {
        "test_kept": "PASSED",
        "test_over": "FAILED",
        "test_host_over": "FAILED",
        "test_the_session_still_runs": "PASSED",
    }, done.stdout
    assert "the peak of test on cuda:0 was 286.1 MiB\n" in section(done, "test_over")
    assert "the peak of test on host was" in section(done, "test_host_over")


AMONG_SAMPLES = """
import threading, time
import pytest, phasescope
from phasescope import phase
from phasescope.testing import FakeBackend

MB = 10**6
budget = pytest.mark.memory_budget
gpu = FakeBackend("cuda", allocated=100 * MB)

@pytest.fixture(scope="module", autouse=True)
def session():
    with phasescope.start(backends=[gpu], peaks=True, interval_ms=10) as session:
        yield session

@pytest.fixture(autouse=True)
def others_go_on_before_the_plugin_reads(session, monkeypatch):
    read = type(session).events
    def events(self, last=None):
        with phase("test"):  # of the plugin's own name, in another thread
            pass
        ahead, deadline = self.written + 5, time.monotonic() + 600
        while self.written < ahead:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return read(self, last)
    def of_another_thread(self, last=None):
        found = []
        thread = threading.Thread(target=lambda: found.append(events(self, last)))
        thread.start()
        thread.join()
        return found[0]
    monkeypatch.setattr(type(session), "events", of_another_thread)

@budget("301 MB", phase="forward")
@pytest.mark.parametrize("number", range(5))
def test_kept(number):
    with phase("test"), phase("forward"):
        gpu.allocate(200 * MB)
        gpu.allocate(-200 * MB)

@budget("299 MB")
def test_over():
    with phase("test"):
        gpu.allocate(200 * MB)
    gpu.allocate(-200 * MB)
"""

BEYOND_JUDGING = """
import pytest, phasescope
from phasescope import phase
from phasescope.testing import FakeBackend

budget = pytest.mark.memory_budget

@pytest.fixture(scope="module", autouse=True)
def session():
    with phasescope.start(backends=[FakeBackend()], capacity_bytes=64 * 2**10) as session:
        yield session

@budget("1 TB")
def test_more_than_the_ring_holds():
    for _ in range(2000):
        with phase("step"):
            pass

@budget("1 TB")
def test_that_ends_the_session(session):
    session.stop()
"""


def test_what_comes_after_a_test_is_not_taken_for_its_own(tmp_path: Path) -> None:
    done = run(tmp_path, AMONG_SAMPLES, *PLUGIN, "-v")
    assert re.findall(r"^test_it\.py::(\S+) (\w+)", done.stdout, re.MULTILINE) == [
        *((f"test_kept[{number}]", "PASSED") for number in range(5)),
        ("test_over", "FAILED"),
    ], done.stdout
    assert "the peak of test on cuda:0 was 286.1 MiB\n" in section(done, "test_over")


def test_a_test_of_which_the_beginning_is_lost_is_not_judged(tmp_path: Path) -> None:
    done = run(tmp_path, BEYOND_JUDGING, *PLUGIN, "-v")
    assert outcomes(done) == {"test_more_than_the_ring_holds": "FAILED", "test_that_ends_the_session": "PASSED"}
    assert "not judged: the ring does not hold the whole test" in section(done, "test_more_than_the_ring_holds")


TWO = """
from phasescope import phase

def test_one():
    with phase("forward"):
        pass

def test_two():
    with phase("backward"):
        raise ValueError("mine")
"""


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "under xdist"])
def test_a_table_of_each_test_is_printed_where_asked_for(tmp_path: Path, workers: list[str]) -> None:
    if workers and importlib.util.find_spec("xdist") is None:
        pytest.skip("needs pytest-xdist")
    done = run(tmp_path, TWO, *PLUGIN, "--phasescope", *workers)
    assert "1 failed, 1 passed" in done.stdout
    for name, inner in (("test_one", "forward"), ("test_two", "backward")):
        table = done.stdout.partition(f"phasescope: test_it.py::{name}")[2]
        assert re.search(rf"^phase .*?^test .*?^  {inner} ", table, re.MULTILINE | re.DOTALL), done.stdout
    assert "ended in an exception: test (1), test/backward (1)" in done.stdout


GROWS = """
import pytest, phasescope
from phasescope import phase
from phasescope.testing import FakeBackend, FakeClock, sample

@pytest.fixture(autouse=True)
def session():
    gpu, clock = FakeBackend("cuda"), FakeClock()
    with phasescope.start(backends=[gpu], clock=clock) as session:
        yield lambda: (gpu.allocate(2**20), clock.advance(ms=100), sample(session))

@pytest.mark.memory_budget("1 MiB")
def test_it(session):
    for _ in range(200):
        with phase("step"):
            session()
"""


@pytest.mark.parametrize("in_ci", [False, True], ids=["by hand", "in CI"])
def test_the_verdict_is_above_the_table_and_that_is_printed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_ci: bool
) -> None:
    monkeypatch.delenv("BUILD_NUMBER", raising=False)
    monkeypatch.setenv("CI", "true" if in_ci else "")  # where it is set, pytest does not shorten its last lines
    for options in ([], ["--phasescope"], ["-n1"]):
        folder = tmp_path / "_".join(["with", *options])
        folder.mkdir()
        done = run(folder, GROWS, *PLUGIN, *options)
        assert len(re.findall(r"^phase +count ", done.stdout, re.MULTILINE)) == 1, done.stdout
        assert re.search(r"^memory on cuda:0 grows: 1\.00 MiB .*\nsession ", done.stdout, re.MULTILINE), done.stdout
        assert "the peak of test on cuda:0 was" in done.stdout


def test_without_the_option_nothing_is_printed(tmp_path: Path) -> None:
    assert "phasescope" not in run(tmp_path, "def test_one(): pass", *PLUGIN).stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('"200"', 'the limit \'200\' needs a unit, such as "200 MiB" or "1.5 GiB"'),
        ('"a lot"', 'the limit must be a size such as "200 MiB" or "1.5 GiB", not \'a lot\''),
        ('"200 mm"', 'the limit must be a size such as "200 MiB" or "1.5 GiB", not \'200 mm\''),
        ("True", 'the limit must be a size such as "200 MiB", or a number of bytes, not True'),
        ("0", "the limit must be more than 0 bytes, not 0"),
        ("", 'it takes one limit such as "200 MiB", not 0'),
        ('"1 MB", "forward"', 'all else by name, as phase="forward"'),
        ('"1 MB", phase=3', "phase must be a name, not 3"),
        ('"1 MB", device=""', "device must be a name, not ''"),
        ('"1 MB", above_start=1', "above_start must be True or False, not 1"),
        ('"1 MB", phse="forward"', "there is no phse; it takes a limit, and phase=, device=, above_start="),
    ],
)
def test_a_wrong_mark_names_the_test_and_the_argument(arguments: str, text: str) -> None:
    pytest_plugin = pytest.importorskip("phasescope.integrations.pytest")

    class Mark:
        def __init__(self, *args: object, **kwargs: object) -> None:
            self.args, self.kwargs = args, kwargs

    class Item:
        nodeid = "test_it.py::test_one"

        def iter_markers(self, name: str) -> list[object]:
            assert name == "memory_budget"
            return [eval(f"Mark({arguments})", {"Mark": Mark})]

    with pytest.raises(pytest.UsageError) as raised:
        pytest_plugin.pytest_collection_modifyitems([Item()])
    assert str(raised.value).startswith("test_it.py::test_one: memory_budget: ")
    assert text in str(raised.value)


def test_a_wrong_mark_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    done = run(tmp_path, "import pytest\n@pytest.mark.memory_budget('x')\ndef test_one(): pass", *PLUGIN)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_it.py::test_one: memory_budget: the limit" in done.stderr


def test_without_being_asked_for_it_is_not_loaded(tmp_path: Path) -> None:
    done = run(
        tmp_path, "import sys\ndef test_one(): assert not [m for m in sys.modules if m.startswith('phasescope')]"
    )
    assert done.returncode == 0, done.stdout
