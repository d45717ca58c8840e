"""Threads that begin with a copy of the context of whoever started them, as Python 3.14 can have them do."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import phase
from phasescope.capture import gc_guard, phase_context
from phasescope.testing import FakeBackend
from support.assertions import paths
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from phasescope import Session


class Inheriting(threading.Thread):
    """As Python 3.14's own does it where `sys.flags.thread_inherit_context` is set; there it runs in its `_context`."""

    def start(self) -> None:
        self._context = contextvars.copy_context()
        super().start()

    def run(self) -> None:
        run = super().run
        run() if sys.version_info >= (3, 14) else self._context.run(run)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    with phasescope.start(backends=[FakeBackend()]) as session:
        monkeypatch.setattr(gc_guard, "IS_NEEDED", False)  # never on the same Python
        phase_context._collections.unwatch()
        monkeypatch.setattr(phase_context, "get_current", phase_context._get_own)
        monkeypatch.setattr(threading, "Thread", Inheriting)
        phase_context._interpret(True)  # the compiled core learned when it was loaded that threads do not inherit
        yield session
        phase_context._interpret(False)
        monkeypatch.undo()


def in_thread(work: object) -> None:
    thread = threading.Thread(target=work)  # type: ignore[arg-type]
    thread.start()
    thread.join()


def inside() -> None:
    with phase("inside"), phase("deeper"):
        pass
    with phase("again"):
        pass


def test_a_thread_begins_outside_of_its_parents_phases(session: Session) -> None:
    with phase("outside"):
        in_thread(inside)
        with phase("own"):
            pass
    assert paths(session) == ["inside/deeper", "inside", "again", "outside/own", "outside"]
    assert session.dropped == 0


def test_a_thread_of_a_thread_does_too(session: Session) -> None:
    def both() -> None:
        with phase("first"):
            in_thread(inside)

    with phase("outside"):
        in_thread(both)
    assert paths(session) == ["inside/deeper", "inside", "again", "first", "outside"]


def test_work_handed_to_a_thread_nests_in_the_phase_of_its_task(session: Session) -> None:
    async def main() -> None:
        with phase("load"):
            await asyncio.to_thread(inside)
            await asyncio.to_thread(inside)

    asyncio.run(main())
    assert paths(session) == [*["load/inside/deeper", "load/inside", "load/again"] * 2, "load"]


def test_a_phase_closed_from_such_a_thread_says_so(session: Session) -> None:
    outer = phase("outside")
    outer.__enter__()
    in_thread(lambda: outer.__exit__(None, None, None))
    with phase("after"):
        pass
    assert paths(session) == ["outside", "after"]
    exits = [event["context"] for event in session.events() if event["event_type"] == "phase_exit"]
    assert exits[0].startswith("closed from thread")
    assert exits[1] is None


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 no thread inherits its context")
def test_so_it_is_where_python_has_all_threads_inherit(tmp_path: Path) -> None:
    code = (
        "import threading, phasescope\n"
        "from phasescope import phase\n"
        "def work():\n"
        "    with phase('inside'): pass\n"
        "with phasescope.start(backends=['cpu']) as session:\n"
        "    with phase('outside'):\n"
        "        thread = threading.Thread(target=work)\n"
        "        thread.start()\n"
        "        thread.join()\n"
        "print(sorted('/'.join(row.path) for row in session.summary().rows))"
    )
    done = subprocess.run(
        [sys.executable, "-X", "thread_inherit_context=1", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=CEILING_S,
        env={**os.environ, "PHASESCOPE_DIR": str(tmp_path)},
    )
    assert done.stdout == "['inside', 'outside']\n", done.stderr
