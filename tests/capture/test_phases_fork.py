"""A forked child has no session until it starts one, and can do nothing to its parent's."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase
from phasescope.testing import FakeBackend, sample
from support.assertions import check_order, events_of, paths
from support.fakes.processes import in_forked_child, in_new_python
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Session

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@pytest.fixture
def session() -> Iterator[Session]:
    with phasescope.start(backends=[FakeBackend()]) as session:
        yield session


def test_a_child_forked_inside_a_phase_writes_nothing(session: Session) -> None:
    def child() -> list[Any]:
        with phase("in the child"):
            pass
        outer.__exit__(None, None, None)
        session.stop()
        phasescope.stop()
        return [phasescope.current() is None, len(threading.enumerate())]

    outer = phase("outer")
    with outer:
        before = session.written
        assert in_forked_child(child) == [True, 1]
        assert session.reader().state == "running"
        samples = len(events_of(session, "sample"))
        assert session.written - before <= samples
    assert paths(session, "enter") == paths(session) == ["outer"]
    assert session.irregular == 0


def test_a_child_starts_a_session_of_its_own(session: Session) -> None:
    def child() -> dict[str, Any]:
        with shared:  # open in the parent when it forked
            pass
        with phasescope.start(backends=[FakeBackend()]) as own:
            with shared, phase("inner"):
                pass
            sample(own)
            alive = own._sampler._thread.is_alive()
        return {
            "id": own.session_id,
            "pid": own.pid,
            "path": own.path,
            "paths": paths(own),
            "samples": len(events_of(own, "sample")),
            "sampler": alive,
        }

    shared = phase("shared")
    with shared:
        told = in_forked_child(child)
    assert told["pid"] != os.getpid()
    assert told["id"] != session.session_id
    assert told["path"] != session.path
    assert told["paths"] == ["shared/inner", "shared"]
    assert told["samples"] >= 2
    assert told["sampler"]
    assert paths(session) == ["shared"]


def test_a_child_holds_neither_the_parents_lock_nor_its_file(session: Session) -> None:
    def child() -> bool:
        return any(_is_writable(fd) for fd in _descriptors(session))

    def _is_writable(fd: str) -> bool:
        flags = Path(f"/proc/self/fdinfo/{fd}").read_text().split("flags:")[1].split()[0]
        return bool(int(flags, 8) & os.O_RDWR)

    if not Path("/proc/self/fdinfo").is_dir():
        pytest.skip("this system does not say what is open")
    assert _descriptors(session)
    assert in_forked_child(child) is False
    assert session.reader().state == "running"


def _descriptors(session: Session) -> list[str]:
    """This process's descriptors of the session's file."""
    return [link.name for link in Path("/proc/self/fd").iterdir() if os.path.realpath(link) == session.path]


def test_a_fork_in_the_middle_of_other_threads_writing_is_harmless(session: Session) -> None:
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            for _ in range(100):
                with phase("busy"):
                    pass
            time.sleep(0.001)  # so that the forking thread has its turn

    def child() -> list[str]:
        with phasescope.start(backends=[FakeBackend()]) as own:
            with phase("child"):
                pass
        return paths(own)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            assert in_forked_child(child) == ["child"]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    scopes = [event["metadata"]["phase_scope"] for event in session.events() if event["event_type"] == "phase_exit"]
    assert {scope["name"] for scope in scopes} == {"busy"}
    sequences = [scope["sequence"] for scope in scopes]  # the first ones may be overwritten by now
    assert sequences == sorted(set(sequences))
    assert (session.dropped, session.reader().damaged) == (0, 0)


def test_os_fork_inside_a_phase_in_a_script() -> None:
    said = in_new_python(
        """
        import os, sys, warnings
        import phasescope
        from phasescope import phase
        from phasescope.testing import FakeBackend

        warnings.simplefilter("error", UserWarning)
        session = phasescope.start(backends=[FakeBackend()])
        with phase("outer"):
            pid = os.fork()
            if pid == 0:
                with phase("child"):
                    pass
        if pid == 0:
            print("child out", flush=True)
            own = phasescope.start(backends=[FakeBackend()])
            with phase("own"):
                pass
            own.stop()
            exits = [e for e in own.events() if e["event_type"] == "phase_exit"]
            print([e["metadata"]["phase_scope"]["path"] for e in exits], flush=True)
            sys.exit(0)  # runs the hooks of atexit in the child
        assert os.waitpid(pid, 0)[1] == 0
        with phase("after"):
            pass
        phasescope.stop()
        print([e["metadata"]["phase_scope"]["path"] for e in session.events() if e["event_type"] == "phase_exit"])
        print(session.reader().state)
        """
    )
    assert said.splitlines() == ["child out", "[['own']]", "[['outer'], ['after']]", "stopped"]


class Rows:
    """A data set whose rows are made inside a phase, in the worker."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> int:
        with phase("row"):
            return index if phasescope.current() is None else -1


def test_a_data_loader_with_two_workers_inside_phases(session: Session) -> None:
    data = pytest.importorskip("torch.utils.data")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loader = data.DataLoader(Rows(), batch_size=4, num_workers=2, multiprocessing_context="fork")
        seen: list[int] = []
        for epoch in range(2):
            with phase("epoch", n=epoch):
                for batch in phasescope.track(loader, name="data"):
                    with phase("step"):
                        seen += batch.tolist()
    assert sorted(seen) == sorted([*range(16)] * 2)
    assert paths(session).count("epoch/data") == 10
    assert paths(session).count("epoch/step") == 8
    assert paths(session).count("epoch") == 2
    assert len(paths(session)) == 20
    assert (session.dropped, session.irregular) == (0, 0)
    # What torch remembers of the batches is weak references that raise when they outlive torch itself, at the end.
    pytest.importorskip("torch.multiprocessing.reductions").shared_cache.clear()


def _in_a_process(pipe: Any) -> None:
    with phasescope.start(backends=[FakeBackend()]) as own:
        with phase("work"):
            pass
    check_order(own.events())
    pipe.send(paths(own))


def test_a_multiprocessing_child_can_have_its_own_session(session: Session) -> None:
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = fork.Process(target=_in_a_process, args=(theirs,))
        process.start()
    assert ours.poll(20)
    assert ours.recv() == ["work"]
    process.join(CEILING_S)
    assert process.exitcode == 0
    ours.close()
    theirs.close()
    assert paths(session) == []
