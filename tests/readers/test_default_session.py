"""The session that is meant if none is named, where a training has child processes with sessions of their own."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from phasescope import attach
from phasescope.cli import main
from phasescope.readers.default_session import default_ring
from phasescope.views.catalogue import Catalogue
from phasescope.views.top.session_list import SessionWatch
from phasescope.views.web.hub import Hub
from support.commands import needs_files
from support.fakes.made_rings import MS, START_NS, MadeRing, made_ring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_files


class Family:
    """A training and its children: pid 1 is the parent of the others. Each has phases unless a test asks for none."""

    def __init__(self, directory: Path, kept: ExitStack) -> None:
        self._directory, self._kept = directory, kept

    def ring(self, pid: int, *, phases: bool = True, over: bool = True, **constants: Any) -> MadeRing:
        parent = {} if pid == 1 else {"parent_pid": 1, "process_name": f"SpawnProcess-{pid - 1}"}
        started_ns = START_NS + pid * 1000 * MS
        of_own = {"pid": pid, "session_id": f"s{pid}", "started_ns": started_ns, **parent, **constants}
        ring = self._kept.enter_context(made_ring(self._directory, **of_own))
        ring.now_ns = started_ns
        ring.event("start")
        if phases:
            ring.run(["step"], 3)
        ring.now_ns = START_NS + 100_000 * MS
        ring.event("sample")
        if over:
            ring.stop()
        return ring


@pytest.fixture
def family(rings: Path) -> Iterator[Family]:
    with ExitStack() as kept:
        yield Family(rings, kept)


def shown(rings: Path) -> set[object]:
    """Return the pid of the session that each surface takes by itself; all take one and the same."""
    watch = SessionWatch(Catalogue([rings]))
    watch.look()
    hub = Hub(Catalogue([rings]))
    pids: dict[object, object] = {entry.key: entry.constants["pid"] for job in hub.jobs() for entry in job}
    with attach(directory=rings) as reader:
        taken = {reader.constants["pid"], pids[hub.newest()], pids[watch.key]}
    watch.close()
    hub.close()
    return taken


def test_it_is_the_training_not_the_child_that_began_last(family: Family, rings: Path) -> None:
    for pid in (1, 2, 3):
        family.ring(pid)
    assert shown(rings) == {1}
    assert default_ring(rings, live_first=False) == default_ring(rings)


def test_below_a_launcher_it_is_the_child_that_trains(family: Family, rings: Path) -> None:
    family.ring(1, phases=False)
    family.ring(2)
    family.ring(3, phases=False)
    assert shown(rings) == {2}


def test_a_child_that_runs_comes_before_a_parent_that_does_not(family: Family, rings: Path) -> None:
    parent = family.ring(1)
    family.ring(2, over=False)
    assert shown(rings) == {2}
    assert default_ring(rings, live_first=False) == parent.path, "explain asks what was, live or dead"


def test_a_later_training_is_not_hidden_by_the_family(family: Family, rings: Path) -> None:
    family.ring(1)
    family.ring(2)
    family.ring(9, parent_pid=77)
    assert shown(rings) == {9}


def test_rings_without_a_parent_are_taken_as_ever(family: Family, rings: Path) -> None:
    family.ring(1)
    family.ring(2, parent_pid=None, process_name=None)
    assert shown(rings) == {2}


def test_children_are_listed_below_their_parent(
    family: Family, rings: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHASESCOPE_DIR", str(rings))
    for pid in (1, 3, 2):
        family.ring(pid)
    family.ring(9, parent_pid=77, process_name=None)
    assert main(["ls"]) == 0
    told = [re.split(r" {2,}", line.strip()) for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[0] for line in told] == ["9", "1", "2", "3"]
    assert [line[-1] for line in told] == [
        "train.py",
        "train.py",
        *(f"└ SpawnProcess-{at} of train.py" for at in (1, 2)),
    ]
