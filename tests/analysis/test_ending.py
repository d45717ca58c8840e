"""How a session ended: said where it is written, inferred where it can be, and never more than is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import phasescope
from phasescope import phase
from phasescope.analysis.session_view import SessionView
from phasescope.testing import FakeBackend
from support.events import MIB, MS, MadeSession
from support.strategies import odd_events
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from pathlib import Path

    from phasescope.analysis.diagnosis.ending import Ending

GIB = 1024 * MIB


def ending(session: MadeSession, state: str, **asked: Any) -> Ending:
    view = SessionView()
    view.feed(session.events)
    return view.ending(state, **asked)


def failing(session: MadeSession, *, error_type: str = "ValueError", told: dict[str, Any] | None = None) -> None:
    """An exception leaves epoch/step/forward, written down with `told` if that is given."""
    phases = [session.enter(*("epoch", "step", "forward")[: depth + 1]) for depth in range(3)]
    session.now_ns += 5 * MS
    for inner in reversed(phases):
        inner.exit(status="error", error_type=error_type)
        if inner is phases[-1] and told is not None:
            session.event(
                "error", metadata={"phase_scope": inner.scope(), "error_type": error_type, **told}, context="it broke"
            )


def host_sample(session: MadeSession, used: int, total: int) -> None:
    session.sample(backend="cpu", device_id=-1, device_used_bytes=used, device_total_bytes=total)


def test_one_that_runs_names_what_is_open() -> None:
    session = MadeSession()
    epoch = session.enter("epoch")
    session.now_ns += 1000 * MS
    session.enter("epoch", "step", parent=epoch)
    told = ending(session, "running", heartbeat_ns=session.now_ns, now_ns=session.now_ns + 500 * MS)
    assert (told.kind, told.text, told.is_over, told.is_good) == ("running", "running", False, True)
    assert [(opened.path, opened.open_ns) for opened in told.open_phases] == [
        (("epoch",), 1500 * MS),
        (("epoch", "step"), 500 * MS),
    ]


def test_one_that_was_not_heard_of_for_long_is_silent() -> None:
    session = MadeSession()
    session.event("start")
    told = ending(session, "running", heartbeat_ns=session.now_ns, now_ns=session.now_ns + 42_000 * MS)
    assert (told.kind, told.silent_ns, told.is_over) == ("silent", 42_000 * MS, False)
    assert "42.0 s" in told.text


def test_a_clean_stop_is_finished() -> None:
    session = MadeSession()
    session.run("epoch")
    session.event("stop")
    told = ending(session, "stopped")
    assert (told.kind, told.certain, told.text, told.open_phases) == ("finished", True, "finished", ())


def test_an_exception_that_left_every_phase_ended_it() -> None:
    session = MadeSession()
    failing(session)
    told = ending(session, "stopped")  # the stop itself is not to be seen
    assert (told.kind, told.error_type, told.path) == ("exception", "ValueError", ("epoch", "step", "forward"))
    assert not told.certain
    assert told.text == "ended by an exception: ValueError, in epoch/step/forward"


def test_the_interpreters_last_words_make_it_certain() -> None:
    session = MadeSession()
    failing(session)
    session.event("stop", context="the interpreter exited after ValueError")
    assert ending(session, "stopped").certain
    session = MadeSession()
    session.event("stop", context="the interpreter exited after KeyError")
    told = ending(session, "stopped")
    assert (told.kind, told.certain, told.text) == ("exception", True, "ended by an exception: KeyError")


def test_ctrl_c_and_sys_exit_are_called_what_they_are() -> None:
    session = MadeSession()
    failing(session, error_type="KeyboardInterrupt")
    session.event("stop", context="the interpreter exited after KeyboardInterrupt")
    assert ending(session, "stopped").text == "interrupted with Ctrl-C, in epoch/step/forward"
    session = MadeSession()
    failing(session, error_type="SystemExit")
    session.event("stop", context="the interpreter exited after SystemExit")
    told = ending(session, "stopped")
    assert (told.kind, told.text) == ("finished", "finished with SystemExit, in epoch/step/forward")


@pytest.mark.parametrize(
    ("code", "error", "thread", "text"),
    [
        (3, "SystemExit", "MainThread", "ended with exit code 3, in epoch"),
        (1, "SystemExit: no data.", "MainThread", "ended with exit code 1: no data, in epoch"),
        (0, "SystemExit", "MainThread", "finished with SystemExit, in epoch"),
        (3, "SystemExit", "Thread-1", "finished with SystemExit, in epoch"),  # ends that thread alone
    ],
)
def test_an_exit_code_is_told_where_it_left_the_phases(code: int, error: str, thread: str, text: str) -> None:
    session = MadeSession()
    left = session.enter("epoch").exit(status="error", error_type="SystemExit", thread_name=thread)
    left["metadata"] |= {"error": error, "exit_code": code}
    session.event("stop", context="the interpreter exited")
    told = ending(session, "stopped")
    assert (told.text, told.is_good) == (text, text.startswith("finished"))


@pytest.mark.parametrize(
    ("told", "kind", "text"),
    [
        ({"error_type": "SystemExit", "error": "SystemExit", "exit_code": 3}, "exception", "ended with exit code 3"),
        (
            {"error_type": "SystemExit", "error": "SystemExit: no data", "exit_code": 1},
            "exception",
            "ended with exit code 1: no data",
        ),
        (
            {"error_type": "SystemExit", "error": "SystemExit, while handling KeyError: loss", "exit_code": 1},
            "exception",
            "ended with exit code 1, while handling KeyError: loss",
        ),
        ({"error_type": "SystemExit", "error": "SystemExit", "exit_code": 0}, "finished", "finished with SystemExit"),
        ({"exit_code": 0}, "finished", "finished: the interpreter exited"),
        ({"error_type": "KeyError", "error": "KeyError: loss"}, "exception", "ended by an exception: KeyError: loss"),
        ({"error_type": "KeyboardInterrupt", "error": "KeyboardInterrupt"}, "exception", "interrupted with Ctrl-C"),
        (
            {"error_type": "RuntimeError", "error": "RuntimeError: x", "raised_from": "MemoryError"},
            "host_out_of_memory",
            "out of memory on the host, outside of any phase",
        ),
    ],
)
@pytest.mark.parametrize("before", [None, "SystemExit", "ValueError"])
def test_what_the_stop_says_of_the_end_of_the_script_counts(
    told: dict[str, Any], kind: str, text: str, before: str | None
) -> None:
    session = MadeSession()
    if before is not None:  # and was caught
        left = session.enter("epoch").exit(status="error", error_type=before)
        left["metadata"] |= {"error": f"{before}: another"} | ({"exit_code": 1} if before == "SystemExit" else {})
    session.event("stop", context="the interpreter exited", metadata=told)
    found = ending(session, "stopped")
    assert (found.kind, found.text, found.certain) == (kind, text, True)


def test_what_left_the_phases_and_then_the_script_is_told_with_its_phase() -> None:
    session = MadeSession()
    left = session.enter("epoch").exit(status="error", error_type="KeyError")
    left["metadata"]["error"] = "KeyError: loss"
    words = "KeyError: loss, while handling ValueError: bad"
    session.event(
        "stop", context="the interpreter exited after KeyError", metadata={"error_type": "KeyError", "error": words}
    )
    told = ending(session, "stopped")
    assert (told.text, told.path, told.certain) == ("ended by an exception: KeyError: loss, in epoch", ("epoch",), True)


def test_another_of_the_same_class_is_not_taken_for_the_one_that_left_a_phase() -> None:
    session = MadeSession()
    left = session.enter("epoch").exit(status="error", error_type="KeyError")
    left["metadata"]["error"] = "KeyError: loss"
    told = {"error_type": "KeyError", "error": "KeyError: accuracy"}
    session.event("stop", context="the interpreter exited after KeyError", metadata=told)
    found = ending(session, "stopped")
    assert (found.text, found.path) == ("ended by an exception: KeyError: accuracy", ())


def test_the_words_of_an_exception_are_told_on_one_harmless_line() -> None:
    session = MadeSession()
    left = session.enter("epoch").exit(status="error", error_type="RuntimeError")
    left["metadata"]["error"] = "RuntimeError: it\n\x1b[2J broke" + "!" * 999
    told = ending(session, "dead")
    assert told.text.startswith("ended by an exception: RuntimeError: it")
    assert told.text.isprintable()
    assert len(told.text) < 300


def test_an_exception_that_was_caught_ended_nothing() -> None:
    session = MadeSession()
    epoch = session.enter("epoch")
    session.enter("epoch", "try", parent=epoch).exit(status="error", error_type="ValueError")
    epoch.exit()
    session.event("stop")
    assert ending(session, "stopped").kind == "finished"
    session = MadeSession()
    failing(session)
    session.run("epoch")
    session.event("stop")
    assert ending(session, "stopped").kind == "finished"


OUT_OF_MEMORY = {"out_of_memory": True, "memory": "host"}


@pytest.mark.parametrize("context", [None, "the interpreter exited"])
@pytest.mark.parametrize("error_type", ["KeyError", "KeyboardInterrupt", "StopEarly"])
def test_nothing_was_on_its_way_out_of_a_session_that_stopped_without_words(
    error_type: str, context: str | None
) -> None:
    session = MadeSession()
    failing(session, error_type=error_type)
    session.event("stop", context=context)
    told = ending(session, "stopped")
    assert (told.kind, told.certain, told.error_type) == ("finished", True, None)


@pytest.mark.parametrize("context", [None, "the interpreter exited", "left after SystemExit"])
def test_out_of_memory_with_nothing_begun_after_it_was_the_end_probably(context: str | None) -> None:
    session = MadeSession()
    failing(session, error_type="MemoryError", told=OUT_OF_MEMORY)
    session.event("stop", context=context)
    told = ending(session, "stopped")
    assert (told.kind, told.certain, told.error_type) == ("host_out_of_memory", False, "MemoryError")
    assert told.text == (
        "out of memory on the host, in epoch/step/forward; nothing was begun after it; the exit code is not known"
    )


@pytest.mark.parametrize("status", ["ok", "error"])
def test_so_it_was_where_a_phase_around_it_caught_it_and_ended(status: str) -> None:
    session = MadeSession()
    main = session.enter("main")
    failing(session, error_type="MemoryError", told=OUT_OF_MEMORY)
    left = main.exit(status=status, error_type="SystemExit" if status == "error" else None)
    left["metadata"]["exit_code"] = 7
    session.event("stop", context="the interpreter exited")
    told = ending(session, "stopped")
    assert told.kind == "host_out_of_memory"
    assert told.text.endswith("; exit code 7" if status == "error" else "; the exit code is not known")


def test_another_exception_that_was_raised_from_it_does_not_hide_it() -> None:
    session = MadeSession()
    step = session.enter("step")
    inner = session.enter("step", "forward", parent=step)
    inner.exit(status="error", error_type="MemoryError")
    session.event("error", metadata={"phase_scope": inner.scope(), "error_type": "MemoryError", **OUT_OF_MEMORY})
    step.exit(status="error", error_type="TrainingFailed")["metadata"]["raised_from"] = "MemoryError"
    session.event("stop", context="the interpreter exited after TrainingFailed")
    told = ending(session, "stopped")
    assert (told.kind, told.certain, told.path) == ("host_out_of_memory", True, ("step", "forward"))


@pytest.mark.parametrize(("thread", "kind"), [("MainThread", "host_out_of_memory"), ("loader", "finished")])
def test_what_another_thread_begins_after_it_only_counts_where_it_was_not_the_main_threads(
    thread: str, kind: str
) -> None:
    session = MadeSession()
    failing(session, error_type="MemoryError", told=OUT_OF_MEMORY)
    for event in session.events:
        event["metadata"]["phase_scope"]["thread_name"] = thread
    session.enter("prefetch")
    session.events[-1]["metadata"]["phase_scope"]["thread_id"] = 2
    session.event("stop")
    assert ending(session, "stopped").kind == kind


def test_a_stop_in_an_except_or_a_finally_is_not_sure_of_the_exception() -> None:
    session = MadeSession()
    failing(session, error_type="MemoryError", told=OUT_OF_MEMORY)
    session.event("stop", context="stopped after MemoryError")
    told = ending(session, "stopped")
    assert (told.kind, told.certain) == ("host_out_of_memory", False)


def test_a_child_of_multiprocessing_exits_in_silence_and_so_proves_nothing() -> None:
    session = MadeSession()
    failing(session, error_type="MemoryError", told=OUT_OF_MEMORY)
    session.event("stop", context="the interpreter of a child process exited")
    told = ending(session, "stopped")
    assert (told.kind, told.certain) == ("host_out_of_memory", False)


@pytest.mark.parametrize(
    ("name", "kind", "where"),
    [
        ("MemoryError", "host_out_of_memory", "the host"),
        ("_ArrayMemoryError", "host_out_of_memory", "the host"),
        ("OutOfMemoryError", "device_out_of_memory", "a device"),
    ],
)
def test_out_of_memory_outside_of_any_phase_is_known_by_its_name(name: str, kind: str, where: str) -> None:
    session = MadeSession()
    session.run("epoch")
    session.event("stop", context=f"the interpreter exited after {name}")
    told = ending(session, "stopped")
    assert (told.kind, told.certain, told.error_type, told.path) == (kind, True, name, ())
    assert told.text == f"out of memory on {where}, outside of any phase"


def test_out_of_memory_that_is_raised_anew_as_something_else_is_what_ended_it_probably() -> None:
    session = MadeSession()
    failing(session, error_type="MemoryError", told=OUT_OF_MEMORY)
    session.event("stop", context="the interpreter exited after TrainingFailed")
    told = ending(session, "stopped")
    assert (told.kind, told.certain, told.error_type) == ("host_out_of_memory", False, "MemoryError")


@pytest.mark.parametrize("state", ["stopped", "dead"])
@pytest.mark.parametrize("memory", ["device", "host"])
def test_out_of_memory_says_where_and_how_much(state: str, memory: str) -> None:
    session = MadeSession()
    failing(
        session,
        error_type="OutOfMemoryError",
        told={"out_of_memory": True, "memory": memory, "requested_bytes": 20 * GIB},
    )
    if state == "stopped":
        session.event("stop", context="left after OutOfMemoryError")
    told = ending(session, state)
    assert (told.kind, told.certain) == (f"{memory}_out_of_memory", True)
    where = "cuda:0" if memory == "device" else "the host"
    assert told.text == f"out of memory on {where}, in epoch/step/forward; tried to allocate 20.0 GiB"
    assert (told.path, told.context) == (("epoch", "step", "forward"), "it broke")


def test_a_training_that_went_on_after_out_of_memory_did_not_end_by_it() -> None:
    session = MadeSession()
    failing(session, error_type="OutOfMemoryError", told={"out_of_memory": True, "memory": "device"})
    session.run("epoch")
    assert ending(session, "dead").kind == "killed"


def test_a_killed_one_names_what_was_open_and_for_how_long() -> None:
    session = MadeSession()
    session.enter("epoch")
    session.now_ns += 3000 * MS
    host_sample(session, 10 * GIB, 64 * GIB)
    told = ending(session, "dead", heartbeat_ns=session.now_ns, now_ns=session.now_ns + 3600_000 * MS)
    assert (told.kind, told.certain, told.is_good) == ("killed", True, False)
    assert [(opened.path, opened.open_ns) for opened in told.open_phases] == [(("epoch",), 3000 * MS)]
    assert told.last_ns == session.now_ns


def test_a_killed_one_on_a_full_host_probably_had_no_memory() -> None:
    session = MadeSession()
    host_sample(session, 63 * GIB, 64 * GIB)
    told = ending(session, "dead")
    assert (told.kind, told.certain) == ("host_out_of_memory", False)
    assert "63.0 GiB of 64.0 GiB" in told.text


def test_so_had_one_that_was_filling_it_fast() -> None:
    session = MadeSession()
    for used in (20, 30, 40):
        host_sample(session, used * GIB, 64 * GIB)
        session.now_ns += 100 * MS
    assert ending(session, "dead").kind == "killed"
    host_sample(session, 50 * GIB, 64 * GIB)
    assert ending(session, "dead").kind == "host_out_of_memory"


def test_another_threads_phases_do_not_hide_the_exception() -> None:
    session = MadeSession()
    failing(session)
    loading = session.enter("load")
    session.events[-1]["metadata"]["phase_scope"]["thread_id"] = 2
    assert ending(session, "dead").error_type == "ValueError"
    loading.exit()
    assert ending(session, "dead").kind == "killed"  # in the main thread, this time


def test_phases_that_a_stop_cut_off_are_the_open_ones() -> None:
    session = MadeSession()
    epoch = session.enter("epoch")
    step = session.enter("epoch", "step", parent=epoch)
    session.now_ns += 7 * MS
    step.exit(status="abandoned")
    epoch.exit(status="abandoned")
    session.event("stop")
    told = ending(session, "stopped")
    assert [opened.path for opened in told.open_phases] == [("epoch",), ("epoch", "step")]


def test_of_a_recording_that_ends_in_the_middle_nothing_is_claimed() -> None:
    session = MadeSession()
    session.enter("epoch")
    told = ending(session, "unknown")
    assert (told.kind, told.is_over) == ("unknown", True)
    assert [opened.path for opened in told.open_phases] == [("epoch",)]


def test_names_are_harmless_in_the_text() -> None:
    session = MadeSession()
    session.enter("a\x1b[2J").exit(status="error", error_type="E\nvil")
    told = ending(session, "dead")
    assert told.text.isprintable()
    json.dumps(told.to_dict())


@given(st.lists(odd_events, max_size=8), st.sampled_from(["running", "stopped", "dead"]))
def test_odd_events_raise_nothing(events: list[dict[str, Any]], state: str) -> None:
    view = SessionView()
    view.feed(events)
    told = view.ending(state, heartbeat_ns=1, now_ns=2)
    assert told.text.isprintable()
    json.dumps(told.to_dict())


def test_a_real_out_of_memory_is_told() -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    backend = FakeBackend("cuda", allocated=60 * GIB)
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        with pytest.raises(OutOfMemoryError), phase("step"), phase("forward"):
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        view = SessionView()
        view.feed(session.events())
        told = view.ending("dead")
    assert (told.kind, told.requested_bytes, told.path) == ("device_out_of_memory", 20 * GIB, ("step", "forward"))


SCRIPT = """
import os, sys, signal, phasescope
from phasescope import phase
phasescope.start(directory=sys.argv[1], backends=["cpu"])
def work():
    with phase("epoch"), phase("step"):
        {action}
{call}
"""
CAUGHT = "try: work()\nexcept BaseException: pass"
LEFT = "with phasescope.current(): work()"
FINALLY = "try: work()\nfinally: phasescope.stop()"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="sessions lie in files only where they can be locked")
@pytest.mark.parametrize(
    ("action", "call", "kind", "text"),
    [
        ("pass", "work()", "finished", "finished: the interpreter exited"),
        ("1 / 0", "work()", "exception", "ended by an exception: ZeroDivisionError: division by zero, in"),
        ("raise MemoryError", "work()", "host_out_of_memory", "out of memory on the host, in epoch/step"),
        ("os.kill(os.getpid(), signal.SIGINT)", "work()", "exception", "interrupted with Ctrl-C, in epoch/step"),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "work()",
            "killed",
            "killed or crashed: its process ended without stopping the session",
        ),
        ("os._exit(3)", "work()", "exception", "ended by os._exit with exit code 3"),
        ("os._exit(0)", "work()", "finished", "finished: the process left by os._exit"),
        (
            "1 / 0",
            f"{CAUGHT}\nos._exit(1)",
            "exception",
            "ended by an exception: ZeroDivisionError: division by zero, in epoch/step; then by os._exit with",
        ),
        ("raise MemoryError", f"{CAUGHT}\nos._exit(1)", "host_out_of_memory", "out of memory on the host, in epoch"),
        ("1 / 0", f"{CAUGHT}\nos._exit(0)", "finished", "finished: the process left by os._exit"),
        ("raise MemoryError", CAUGHT, "host_out_of_memory", "out of memory on the host, in epoch/step; nothing was"),
        ("raise MemoryError", f"{CAUGHT}\nwith phase('on'): pass", "finished", "finished: the interpreter exited"),
        ("1 / 0", CAUGHT, "finished", "finished: the interpreter exited"),
        ("raise KeyboardInterrupt", f"{CAUGHT}\nphasescope.stop()", "finished", "finished"),
        ("pass", "work()\nraise MemoryError", "host_out_of_memory", "out of memory on the host, outside of any phase"),
        ("raise MemoryError", LEFT, "host_out_of_memory", "out of memory on the host, in epoch/step"),
        ("raise MemoryError", FINALLY, "host_out_of_memory", "out of memory on the host, in epoch/step"),
        ("sys.exit(3)", "work()", "exception", "ended with exit code 3, in epoch/step"),
        ("sys.exit()", "work()", "finished", "finished with SystemExit, in epoch/step"),
    ],
)
def test_real_processes_end_in_each_way(rings: Path, action: str, call: str, kind: str, text: str) -> None:
    code = SCRIPT.format(action=action, call=call)
    subprocess.run([sys.executable, "-c", code, str(rings)], stderr=subprocess.DEVNULL, timeout=CEILING_S, check=False)
    with phasescope.attach(directory=rings) as reader:
        view = SessionView()
        view.feed(reader.unread())
        told = view.ending(reader.state, heartbeat_ns=reader.heartbeat_ns)
    assert told.kind == kind, told
    assert told.text.startswith(text)
    opened = [phase.path for phase in told.open_phases]
    assert opened == ([("epoch",), ("epoch", "step")] if kind == "killed" or action.startswith("os._exit") else [])
