"""A session from start() to stop(): its life, what it shows of itself, and whom it calls."""

from __future__ import annotations

import ast
import importlib.util
import logging
import os
import re
import shutil
import sys
import threading
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import (
    PhasescopeWarning,
    ProjectedTelemetryRecord,
    Session,
    _native,
    phase,
    projected_record_to_dict,
)
from phasescope.testing import FakeBackend
from support.assertions import events_of, only, paths, scopes
from support.fakes.failing import FailingBackend
from support.fakes.processes import in_forked_child, in_new_python, new_python
from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.testing import FakeClock


def fake(clock: FakeClock, **options: Any) -> dict[str, Any]:
    """Options under which nothing is written but what the test itself brings about."""
    return {"backends": [FakeBackend()], "clock": clock, **options}


@pytest.fixture
def session(clock: FakeClock) -> Iterator[Session]:
    with phasescope.start(**fake(clock)) as session:
        yield session


# --- start, stop, current --------------------------------------------------------------------------------------------


@pytest.mark.neutral
def test_start_makes_the_current_session_and_stop_ends_it(clock: FakeClock) -> None:
    assert phasescope.current() is None
    session = phasescope.start(**fake(clock))
    assert phasescope.current() is session
    assert session.reader().state == "running"
    phasescope.stop()
    assert phasescope.current() is None
    assert session.reader().state == "stopped"
    assert [event["event_type"] for event in events_of(session)] == ["start", "sample", "stop"]


@pytest.mark.neutral
def test_a_session_is_a_context_manager_and_lets_exceptions_out(clock: FakeClock) -> None:
    raised = ValueError("the training's own")
    with pytest.raises(ValueError, match="own") as caught:
        with phasescope.start(**fake(clock)) as session:
            assert phasescope.current() is session
            raise raised
    assert caught.value is raised
    assert phasescope.current() is None
    assert session.reader().state == "stopped"


@pytest.mark.neutral
def test_stop_without_a_session_does_nothing() -> None:
    phasescope.stop()
    assert phasescope.current() is None


@pytest.mark.neutral
def test_stopping_twice_does_nothing(clock: FakeClock) -> None:
    session = phasescope.start(**fake(clock))
    session.stop()
    written = session.written
    session.stop()
    phasescope.stop()
    with session:
        pass
    assert session.written == written
    assert len(events_of(session, "stop")) == 1


@pytest.mark.neutral
def test_an_old_session_that_is_stopped_again_leaves_the_new_one_running(clock: FakeClock) -> None:
    old = phasescope.start(**fake(clock))
    old.stop()
    with phasescope.start(**fake(clock)) as new:
        old.stop()
        assert phasescope.current() is new
        with phase("step"):
            pass
    assert paths(new) == ["step"]
    assert paths(old) == []


@pytest.mark.neutral
def test_sessions_follow_each_other_each_with_its_own_ring(clock: FakeClock) -> None:
    ended = []
    for number in range(3):
        with phasescope.start(**fake(clock)) as session, phase(f"step {number}"):
            pass
        ended.append(session)
    assert len({session.session_id for session in ended}) == 3
    assert [paths(session) for session in ended] == [["step 0"], ["step 1"], ["step 2"]]
    if ended[0].path is not None:
        assert len({session.path for session in ended}) == 3


@pytest.mark.neutral
def test_stop_inside_a_phase_closes_it_and_the_training_goes_on(clock: FakeClock) -> None:
    session = phasescope.start(**fake(clock))
    with phase("epoch"):
        with phase("step"):
            clock.advance(ms=3)
            phasescope.stop()
            with phase("after"):
                pass
    assert [(scope["name"], scope["status"]) for scope in scopes(session)] == [
        ("step", "abandoned"),
        ("epoch", "abandoned"),
    ]
    assert [scope["duration_ns"] for scope in scopes(session)] == [3_000_000, 3_000_000]
    assert events_of(session)[-1]["event_type"] == "stop"


@pytest.mark.neutral
def test_a_phase_that_outlives_its_session_does_not_close_one_of_the_next(clock: FakeClock) -> None:
    first = phasescope.start(**fake(clock))
    outer = phase("outer")
    outer.__enter__()
    first.stop()
    with phasescope.start(**fake(clock)) as second:
        with phase("new"):
            outer.__exit__(None, None, None)
            with phase("inner"):
                pass
    assert paths(second) == ["new/inner", "new"]
    assert (first.irregular, second.irregular) == (1, 0)


# --- a second start --------------------------------------------------------------------------------------------------


@pytest.mark.neutral
@pytest.mark.filterwarnings("error")
def test_a_second_start_with_the_same_options_returns_the_running_session(clock: FakeClock) -> None:
    options = fake(clock, interval_ms=50, rank=1, world_size=2)
    with phasescope.start(**options) as session:
        assert phasescope.start(**options) is session
        assert phasescope.start(**{**options, "backends": tuple(options["backends"])}) is session


@pytest.mark.neutral
def test_a_second_start_with_other_options_warns_where_it_is_called_and_names_them(clock: FakeClock) -> None:
    with phasescope.start(**fake(clock)) as session:
        before = session.options
        with pytest.warns(PhasescopeWarning) as warned:
            assert phasescope.start(**fake(clock, interval_ms=7, capacity_bytes=2**20)) is session
        assert session.options == before
    (warning,) = warned
    assert "running already; it keeps its own backends, interval_ms, capacity_bytes" in str(warning.message)
    assert warning.filename == __file__


@pytest.mark.neutral
@pytest.mark.parametrize(
    ("wrong", "named"), [({"backends": ["cdua"]}, 'backends: there is no "cdua"'), ({"rank": -1}, "rank")]
)
def test_a_second_start_with_wrong_options_raises_and_the_session_goes_on(
    clock: FakeClock, wrong: dict[str, Any], named: str
) -> None:
    with phasescope.start(**fake(clock)) as session:
        with pytest.raises(ValueError, match=named):
            phasescope.start(**wrong)
        assert phasescope.current() is session


@pytest.mark.neutral
def test_threads_that_start_at_once_share_one_session(clock: FakeClock) -> None:
    options = fake(clock)
    gate = threading.Barrier(8)
    started = []

    def begin() -> None:
        gate.wait()
        started.append(phasescope.start(**options))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    phasescope.stop()
    assert len(started) == 8
    assert len(set(started)) == 1
    assert len(events_of(started[0], "start")) == 1


# --- the end of the process ------------------------------------------------------------------------------------------

UNSTOPPED = """
    import sys
    import phasescope
    from phasescope import phase
    from phasescope.testing import FakeBackend

    session = phasescope.start(backends=[FakeBackend()])
    print(session.path, flush=True)
    outer = phase("outer")
    outer.__enter__()
"""


def last_words(code: str) -> str | None:
    """What the stop event says of a script that goes on with `code`."""
    done = new_python(UNSTOPPED + code)
    with phasescope.attach(done.stdout.strip()) as reader:
        stop = reader.events()[-1]
    assert stop["event_type"] == "stop"
    context: str | None = stop["context"]
    return context


@pytest.mark.parametrize(
    ("code", "exit_status", "context"),
    [
        ("", 0, "the interpreter exited"),
        ("    sys.exit(3)\n", 3, "the interpreter exited"),
        ("    raise ValueError('secret')\n", 1, "the interpreter exited after ValueError"),
        ("    raise KeyboardInterrupt\n", None, "the interpreter exited after KeyboardInterrupt"),
    ],
)
def test_a_script_that_never_stops_is_stopped_cleanly_at_its_end(
    code: str, exit_status: int | None, context: str
) -> None:
    done = new_python(UNSTOPPED + code)
    assert done.returncode == (-2 if exit_status is None else exit_status), done.stderr
    assert "phasescope" not in done.stderr
    with phasescope.attach(done.stdout.strip()) as reader:
        assert reader.state == "stopped"
        last = reader.events()[-3:]
    assert [event["event_type"] for event in last] == ["phase_exit", "sample", "stop"]
    assert last[0]["metadata"]["phase_scope"]["status"] == "abandoned"
    assert last[-1]["context"] == context


def test_an_exception_that_was_caught_is_not_named_at_the_end() -> None:
    caught = """
    try:
        raise ValueError
    except ValueError:
        pass
    """
    assert last_words(caught) == "the interpreter exited"


def test_an_error_that_an_interactive_session_went_on_after_is_not_named_at_the_end() -> None:
    typed = """
    sys.ps1 = ">>> "
    sys.last_value = sys.last_exc = NameError("a typo, long ago")
    """
    assert last_words(typed) == "the interpreter exited"


def test_a_script_that_stopped_has_no_last_words() -> None:
    assert last_words("    phasescope.stop()\n") is None
    assert last_words("    with phasescope.current():\n        pass\n") is None


def test_a_session_that_is_left_or_stopped_amid_an_exception_names_it() -> None:
    assert last_words("    with phasescope.current():\n        raise ValueError('secret')\n") == "left after ValueError"
    amid = """
    try:
        raise ValueError("secret")
    finally:
        phasescope.stop()
    """
    assert last_words(amid) == "stopped after ValueError"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_daemon_that_closes_all_descriptors_goes_on_and_its_own_files_are_left_alone(tmp_path: Path) -> None:
    """The descriptors' numbers are soon other files': those must be neither cut, nor closed, nor read as the ring."""
    said = in_new_python(
        f"""
        import gc, os
        import phasescope
        from phasescope import phase
        from phasescope.testing import FakeBackend

        session = phasescope.start(backends=[FakeBackend()])
        path = session.path
        with phase("before"):
            os.closerange(3, 64)
            own = [os.open({str(tmp_path / "own")!r} + str(n), os.O_RDWR | os.O_CREAT) for n in range(8)]
            for number, fd in enumerate(own):
                os.write(fd, b"mine %d" % number)
            with phase("inside"):
                pass
        names = [e["metadata"]["phase_scope"]["name"] for e in session.events() if e["event_type"] == "phase_exit"]
        print(names)
        phasescope.stop()
        print(session.latest()["event_type"])
        del session
        gc.collect()
        print([os.pread(fd, 100, 0) for fd in own] == [b"mine %d" % n for n in range(8)])
        with phasescope.attach(path) as reader:
            print(reader.state, reader.latest()["event_type"])
        """
    )
    assert said.splitlines() == ["['inside', 'before']", "stop", "True", "stopped stop"]


def test_a_session_whose_file_was_removed_reads_itself_and_calls_its_subscribers(tmp_path: Path) -> None:
    """A clean-up of /tmp does that, and systemd's of /dev/shm when its user logs out."""
    with phasescope.start(directory=tmp_path / "rings", backends=[FakeBackend()]) as session:
        with phase("before"):
            pass
        if session.path is not None:
            shutil.rmtree(tmp_path / "rings")
        received: list[ProjectedTelemetryRecord] = []
        subscription = session.subscribe(received.append)
        with phase("after"):
            pass
        with session.reader() as reader:
            assert reader.state == "running"
            assert paths(session) == ["before", "after"]
        until(lambda: any(record.event_type == "phase_exit" for record in received))
        assert subscription.running
    assert session.reader().state == "stopped"
    assert session.latest()["event_type"] == "stop"  # type: ignore[index]
    until(lambda: not subscription.running)
    assert subscription.errors == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_starts_a_session_of_its_own_beside_its_parents(session: Session) -> None:
    def child() -> list[Any]:
        none = phasescope.current() is None
        with phasescope.start(backends=[FakeBackend()]) as own, phase("child"):
            pass
        return [
            none,
            own.session_id != session.session_id,
            own.path != session.path,
            own.pid == os.getpid(),
            paths(own),
        ]

    assert in_forked_child(child) == [True, True, True, True, ["child"]]
    assert phasescope.current() is session
    assert paths(session) == []
    assert session.reader().state == "running"


# --- what it shows ---------------------------------------------------------------------------------------------------


@pytest.mark.neutral
def test_events_records_and_latest_are_the_same_events(session: Session) -> None:
    for number in range(5):
        with phase("step", n=number):
            pass
    events = events_of(session)
    assert len(events) == session.written == 12
    assert session.events(last=3) == events[-3:]
    assert session.events(last=0) == []
    assert session.events(last=1000) == events
    assert session.latest() == events[-1]
    assert all(isinstance(record, ProjectedTelemetryRecord) for record in session.records())
    expected = [phasescope.project_telemetry_mapping(event) for event in events]
    assert session.records() == expected
    assert session.records(last=2) == expected[-2:]


@pytest.mark.neutral
def test_all_of_it_is_there_after_stop_too(clock: FakeClock) -> None:
    with phasescope.start(**fake(clock)) as session, phase("step"):
        pass
    assert paths(session) == ["step"]
    assert session.latest() == only(session, "stop")
    assert session.records()[-1].event_type == "stop"
    assert [row.path for row in session.summary().rows] == [("step",)]
    with session.reader() as reader:
        assert reader.events() == session.events()


@pytest.mark.neutral
def test_summary_prints_the_table_and_gives_its_rows(session: Session, clock: FakeClock) -> None:
    for _ in range(2):
        with phase("epoch"), phase("step"):
            clock.advance(ms=250)
    summary = session.summary()
    assert [(row.path, row.count, row.total_ns) for row in summary.rows] == [
        (("epoch",), 2, 500_000_000),
        (("epoch", "step"), 2, 500_000_000),
    ]
    assert "epoch" in str(summary)
    assert "step" in str(summary)


@pytest.mark.neutral
def test_written_counts_also_what_is_overwritten_by_now(clock: FakeClock) -> None:
    with phasescope.start(**fake(clock, capacity_bytes=64 * 1024)) as session:
        for _ in range(2000):
            with phase("step"):
                pass
        assert session.written == 4002
        assert len(session.events()) < 1000
        assert session.dropped == 0
        assert session.summary().missed == 4002 - len(session.events())


@pytest.mark.neutral
def test_dropped_counts_what_could_not_be_written(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_payload: bytes) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(session._writer, "_append", no_room)
        session._writer.ring._store_nowhere()  # nor by the compiled core
        with phase("lost"):
            pass
    session._writer.ring._let_core_append()
    with phase("kept"):
        pass
    assert session.dropped == 2
    assert paths(session) == ["kept"]
    session.stop()
    assert session.reader().dropped == 2


@pytest.mark.neutral
def test_degraded_counts_the_backends_that_stopped_answering(clock: FakeClock) -> None:
    backend = FailingBackend("cpu")
    with phasescope.start(backends=[backend], clock=clock) as session:
        assert session.degraded == 0
        for times in (1, 2):
            backend.failing.add("allocator")
            with phase("step"):
                pass
            assert session.degraded == times
            backend.failing.clear()
            clock.advance(ms=120_000)
            until(lambda times=times: len(events_of(session, "collector_recovered")) == times)  # type: ignore[misc]
    assert len(events_of(session, "collector_degraded")) == 2


@pytest.mark.neutral
def test_the_session_and_its_ring_say_who_they_are(clock: FakeClock) -> None:
    with phasescope.start(**fake(clock, job_id="job", rank=2, local_rank=1, world_size=4, interval_ms=20)) as session:
        constants = session.reader().constants
        assert session.session_id in repr(session)
        assert "running" in repr(session)
    assert "stopped" in repr(session)
    expected = {
        "session_id": session.session_id,
        "pid": os.getpid(),
        "started_ns": clock.wall_ns(),
        "job_id": "job",
        "rank": 2,
        "local_rank": 1,
        "world_size": 4,
        "sampling_interval_ms": 20,
        "backends": ["cpu"],
        "capacity_bytes": 16 * 2**20,
    }
    assert {name: constants[name] for name in expected} == expected
    assert constants["version"] == phasescope.__version__
    assert constants["core"] == session.core == ("compiled" if _native.has_phases else "python")
    assert constants["command"] == [argument[:500] for argument in sys.orig_argv]
    event = session.latest()
    assert event is not None
    assert [event[key] for key in ("job_id", "rank", "local_rank", "world_size")] == ["job", 2, 1, 4]


@pytest.mark.neutral
@pytest.mark.parametrize(
    ("environment", "identity"),
    [
        ("RANK=3 LOCAL_RANK=1 WORLD_SIZE=4 TORCHELASTIC_RUN_ID=run", ("run", 3, 1, 4)),
        ("OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_SIZE=4", (None, 3, 1, 4)),
        ("SLURM_PROCID=3 SLURM_LOCALID=1 SLURM_NTASKS=4 SLURM_JOB_ID=12", ("12", 3, 1, 4)),
        ("RANK=3", (None, 0, 0, 1)),
        ("", (None, 0, 0, 1)),
    ],
)
def test_identity_comes_from_the_launchers_environment(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, environment: str, identity: tuple[Any, ...]
) -> None:
    for setting in environment.split():
        monkeypatch.setenv(*setting.split("="))
    with phasescope.start(**fake(clock)) as session, phase("step"):
        pass
    assert {(e["job_id"], e["rank"], e["local_rank"], e["world_size"]) for e in events_of(session)} == {identity}


@pytest.mark.neutral
def test_an_identity_that_is_passed_comes_before_the_environments(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "SLURM_JOB_ID": "12"}.items():
        monkeypatch.setenv(name, value)
    with phasescope.start(**fake(clock, rank=2, job_id="mine")) as session:
        pass
    assert {(e["job_id"], e["rank"], e["local_rank"], e["world_size"]) for e in events_of(session)} == {
        ("mine", 2, 1, 4)
    }


@pytest.mark.parametrize(("rank", "size", "expected"), [(1, 2, ("12.3", 1, 0, 2)), (3, 4, ("12", 3, 3, 4))])
def test_the_launcher_names_the_job_where_torchs_group_has_its_ranks_too(
    rank: int, size: int, expected: tuple[Any, ...], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"JOB_ID": "12", "STEP_ID": "3", "PROCID": "1", "LOCALID": "0", "STEP_NUM_TASKS": "2"}
    for name, value in told.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    group = {"is_available": True, "is_initialized": True, "get_rank": rank, "get_world_size": size}
    answers = {name: (lambda answer=answer: answer) for name, answer in group.items()}
    monkeypatch.setitem(sys.modules, "torch.distributed", types.SimpleNamespace(**answers))
    with phasescope.start(**fake(clock)) as session:
        assert session.identity == expected


class FakeJaxState:
    """As `jax._src.distributed.State`, once the processes have met."""

    process_id, num_processes = 3, 4
    client: object | None = object()
    coordinator_address = "10.0.0.1:1234"


def test_jaxs_processes_that_have_met_are_ranks(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    state = FakeJaxState()
    monkeypatch.setitem(sys.modules, "jax._src.distributed", types.SimpleNamespace(global_state=state))
    with phasescope.start(**fake(clock)) as session:
        assert session.identity == ("10.0.0.1:1234", 3, 3, 4)
    state.client = None  # not begun yet, or shut down
    with phasescope.start(**fake(clock)) as session:
        assert session.identity == (None, 0, 0, 1)


def test_the_installed_jax_notes_its_processes_as_the_fake_does() -> None:
    found = importlib.util.find_spec("jax")
    if found is None or found.origin is None:
        pytest.skip("jax is not installed")
    text = (Path(found.origin).parent / "_src" / "distributed.py").read_text("utf-8")
    (state,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == "State")
    noted = {
        node.target.id for node in state.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert {name for name in vars(FakeJaxState) if not name.startswith("_")} <= noted
    assert re.search(r"^global_state = State\(\)", text, re.MULTILINE)


# --- where the ring lies ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="there the ring is in memory")
def test_the_file_is_the_users_alone_and_shrinks_to_what_it_holds(clock: FakeClock, rings: Path) -> None:
    with phasescope.start(**fake(clock, directory=rings)) as session:
        assert session.path is not None
        file = Path(session.path)
        assert file.parent == rings
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.stat().st_size > 16 * 2**20
    assert file.stat().st_size < 64 * 1024
    assert sorted(rings.iterdir()) == [file]


@pytest.mark.neutral
def test_where_no_file_can_be_had_it_warns_once_and_goes_on_in_memory(clock: FakeClock, tmp_path: Path) -> None:
    in_the_way = tmp_path / "a file"
    in_the_way.write_text("mine")
    with pytest.warns(PhasescopeWarning, match="no ring file, so other processes cannot look in") as warned:
        session = phasescope.start(**fake(clock, directory=in_the_way))
    seen: list[ProjectedTelemetryRecord] = []
    with session:
        session.subscribe(seen.append)
        with phase("step"):
            pass
        assert session.path is None
        assert "in memory" in repr(session)
        assert session.reader().state == "running"
    assert [warning.filename for warning in warned] == [__file__]
    assert paths(session) == ["step"]
    assert session.reader().state == "stopped"
    assert [record.event_type for record in seen] == ["phase_enter", "phase_exit", "sample", "stop"]
    assert in_the_way.read_text() == "mine"


# --- subscribe -------------------------------------------------------------------------------------------------------


@pytest.mark.neutral
def test_a_subscriber_gets_each_new_envelope_in_a_thread_of_its_own(session: Session) -> None:
    with phase("before"):
        pass
    seen: list[tuple[ProjectedTelemetryRecord, threading.Thread]] = []
    subscription = session.subscribe(lambda record: seen.append((record, threading.current_thread())))
    for number in range(100):
        with phase("step", n=number):
            pass
    session.stop()
    assert [projected_record_to_dict(record) for record, _ in seen] == [
        projected_record_to_dict(record) for record in session.records()[4:]
    ]
    assert len(seen) == 202
    (thread,) = {thread for _, thread in seen}
    assert thread is not threading.main_thread()
    assert thread.daemon
    assert (subscription.missed, subscription.errors) == (0, 0)


@pytest.mark.neutral
def test_a_subscriber_is_called_while_the_training_runs(session: Session) -> None:
    seen = threading.Event()
    session.subscribe(lambda record: seen.set())
    with phase("step"):
        assert seen.wait(CEILING_S)


@pytest.mark.neutral
def test_a_subscriber_that_raises_is_called_on_and_counted(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[ProjectedTelemetryRecord] = []
    others: list[ProjectedTelemetryRecord] = []

    def broken(record: ProjectedTelemetryRecord) -> None:
        calls.append(record)
        raise [ValueError("no"), SystemExit(3), KeyboardInterrupt()][len(calls) % 3]

    with caplog.at_level(logging.WARNING, "phasescope"):
        subscription = session.subscribe(broken)
        session.subscribe(others.append)
        for _ in range(10):
            with phase("step"):
                pass
        session.stop()
    assert len(calls) == subscription.errors == 22
    assert others == calls
    assert [record.getMessage() for record in caplog.records] == ["a subscriber raised SystemExit; it stays subscribed"]


@pytest.mark.neutral
def test_a_slow_subscriber_holds_up_nobody_and_what_it_missed_is_counted(clock: FakeClock) -> None:
    seen: list[ProjectedTelemetryRecord] = []
    let_go = threading.Event()

    def slow(record: ProjectedTelemetryRecord) -> None:
        seen.append(record)
        let_go.wait(CEILING_S)

    with phasescope.start(**fake(clock, capacity_bytes=64 * 1024)) as session:
        subscription = session.subscribe(slow)
        with phase("first"):
            until(lambda: seen)
        for _ in range(3000):
            with phase("step"):
                pass
        assert len(seen) == 1
        let_go.set()
        written = session.written
        session.stop()
        assert subscription.join(CEILING_S)
    assert seen[-1].event_type == "stop"
    assert subscription.missed > 3000
    assert len(seen) + subscription.missed == written + 2 - 2, "all that came after it subscribed"
    assert session.dropped == 0


@pytest.mark.neutral
def test_stop_does_not_wait_forever_for_a_subscriber_that_hangs(clock: FakeClock) -> None:
    let_go = threading.Event()
    session = phasescope.start(**fake(clock))
    subscription = session.subscribe(lambda record: let_go.wait(CEILING_S))
    with phase("step"):
        pass
    begin = time.monotonic()
    session.stop()
    assert time.monotonic() - begin < CEILING_S / 2
    assert not subscription.join(0)
    assert session.reader().state == "stopped"
    let_go.set()
    assert subscription.join(CEILING_S)


@pytest.mark.neutral
def test_a_subscriber_may_stop_the_session_and_write_phases_itself(clock: FakeClock) -> None:
    session = phasescope.start(**fake(clock))

    def ends_it(record: ProjectedTelemetryRecord) -> None:
        if record.body is None and record.event_type == "phase_enter" and record.correlation["phase.sequence"] == 1:
            with phase("in the subscriber"):
                pass
            phasescope.stop()

    session.subscribe(ends_it)
    with phase("step"):
        until(lambda: phasescope.current() is None)
    until(lambda: session.reader().state == "stopped")
    assert sorted(paths(session)) == ["in the subscriber", "step"]


@pytest.mark.neutral
def test_a_closed_subscription_is_called_no_more(session: Session) -> None:
    seen: list[ProjectedTelemetryRecord] = []
    subscription = session.subscribe(seen.append)
    with phase("step"):
        until(lambda: seen)
    subscription.close()
    assert subscription.join(CEILING_S)
    before = len(seen)
    with phase("step"):
        pass
    assert len(seen) == before
    subscription.close()


@pytest.mark.neutral
def test_what_can_not_be_called_is_refused(session: Session) -> None:
    with pytest.raises(TypeError, match="callback must be callable, not a str"):
        session.subscribe("print")  # type: ignore[arg-type]
    assert not any(thread.name == "phasescope-subscription" for thread in threading.enumerate())


@pytest.mark.neutral
def test_a_subscription_of_an_ended_session_ends_at_once(clock: FakeClock) -> None:
    with phasescope.start(**fake(clock)) as session:
        pass
    seen: list[ProjectedTelemetryRecord] = []
    assert session.subscribe(seen.append).join(CEILING_S)
    assert seen == []


@pytest.mark.neutral
def test_subscriptions_that_are_over_do_not_pile_up(session: Session) -> None:
    for _ in range(20):
        subscription = session.subscribe(lambda record: None)
        subscription.close()
        assert subscription.join(CEILING_S)
    assert len(session._subscriptions) <= 2
