"""A process that leaves by `os._exit`: it leaves as ever, and its session says so."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope.readers.diagnosis import ending
from support.commands import needs_files
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = needs_files
LEAVES = os._exit

BEGIN = """
import os, signal, sys, threading
import phasescope

def start():
    return phasescope.start(directory=sys.argv[1], backends=["cpu"], interval_ms=3_600_000)

"""
HOLDS = """
held = threading.Event()
def hold(lock):
    with lock:
        held.set()
        threading.Event().wait()
threading.Thread(target=hold, args=(start()._writer.lock,), daemon=True).start()
held.wait()
os._exit(5)
"""
CHILD = """
start()
if not os.fork():
    {child}
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]) - 6)
"""
THREAD = "start()\nthreading.Thread(target=lambda: os._exit(4)).start()\nthreading.Event().wait()"
HANDLER = """
start()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
os.kill(os.getpid(), signal.SIGTERM)
threading.Event().wait()
"""
GONE = "killed or crashed: its process ended without stopping the session"
WELL = "finished: the interpreter exited"


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        pytest.param(THREAD, 4, ["ended by os._exit with exit code 4"], id="from a thread"),
        pytest.param(HANDLER, 0, ["finished: the process left by os._exit"], id="from a signal handler"),
        pytest.param(
            CHILD.format(child="start(); os._exit(6)"), 0, ["ended by os._exit with exit code 6", WELL], id="a child"
        ),
        pytest.param(
            CHILD.format(child="assert type(os._exit) is type(len); os._exit(6)"), 0, [WELL], id="a child without one"
        ),
        pytest.param(
            "start()\nos.execlp(sys.executable, 'python', '-c', 'raise SystemExit(3)')",
            3,
            ["finished: another program took the process's place (os.exec)"],
            id="another program",
        ),
        pytest.param(
            "start()\ntry:\n    os.execv(sys.executable, ['python', 'x' * 2**22])\n"
            "except OSError:\n    os.kill(os.getpid(), signal.SIGKILL)",
            -9,
            [GONE],
            id="another program that fails to begin",
        ),
        pytest.param("start().stop()\nos._exit(8)", 8, ["finished"], id="after the session"),
        pytest.param(
            HOLDS,
            5,
            ["killed or crashed: its process ended without stopping the session"],
            id="a thread holds the ring",
        ),
    ],
)
def test_a_session_says_that_its_process_left(tmp_path: Path, code: str, status: int, expected: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code, tmp_path], capture_output=True, text=True, timeout=CEILING_S, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")
    told = []
    for ring in tmp_path.rglob("*.ring"):
        with phasescope.attach(ring) as reader:
            told.append(ending(reader).text)
    assert sorted(told) == expected


def test_it_is_what_it_was_before_and_after_a_session(rings: Path) -> None:
    with phasescope.start(directory=rings, backends=["cpu"], interval_ms=3_600_000) as session:
        assert pickle.loads(pickle.dumps(os._exit)) is os._exit
        assert b"phasescope" not in pickle.dumps(os._exit)
        assert (os._exit.__name__, os._exit.__doc__) == (LEAVES.__name__, LEAVES.__doc__)
        for wrong in ("3", None, 2**40, 1.5):
            with pytest.raises((TypeError, OverflowError)):
                os._exit(wrong)
        with phasescope.phase("goes on"):
            pass
        assert session.events()[-1]["event_type"] == "phase_exit"
    assert os._exit is LEAVES


def test_what_others_have_put_there_stays(rings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    with phasescope.start(directory=rings, backends=["cpu"], interval_ms=3_600_000) as session:
        monkeypatch.setattr(os, "_exit", left.append)
        leave: Callable[[int], object] = os._exit
        leave(3)
        with phasescope.phase("goes on"):
            pass
        assert session.events()[-1]["event_type"] == "phase_exit"
    assert os._exit is leave
    assert left == [3]
