"""attach() and what it gives: a session that runs here or elsewhere, ended well, or was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import (
    RingError,
    SessionNotFoundError,
    _os_compat,
    attach,
    phase,
    validate_event,
)
from phasescope.readers.ring_reader import RingReader
from phasescope.testing import FakeBackend
from support.assertions import check_order
from support.fakes import rings as made
from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phasescope import Session
    from phasescope.testing import FakeClock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there a session can be read in its own process only")

ELSEWHERE = """
import sys
import phasescope
from phasescope import phase
from phasescope.testing import FakeBackend

session = phasescope.start(backends=[FakeBackend()], interval_ms=10_000, capacity_bytes=int(sys.argv[1]))
print(session.session_id, flush=True)
for line in sys.stdin:
    name, _, count = line.strip().partition(" ")
    for _ in range(int(count or 1)):
        with phase(name):
            pass
    print(session.written, flush=True)
"""


class Elsewhere:
    """A session in another process, that does as told."""

    def __init__(self, capacity_bytes: int = 1 << 20) -> None:
        command = [sys.executable, "-c", ELSEWHERE, str(capacity_bytes)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self.session_id = self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def phases(self, name: str, count: int = 1) -> int:
        """Write `count` of them, and return how many events there are then."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name} {count}\n")
        self.process.stdin.flush()
        return int(self._answer())

    def stop(self) -> None:
        """It ends as a script does that never calls stop."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(CEILING_S) == 0

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait(CEILING_S) == -signal.SIGKILL

    def clear_up(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    other = Elsewhere()
    yield other
    other.clear_up()


@pytest.fixture
def session(clock: FakeClock) -> Iterator[Session]:
    with phasescope.start(backends=[FakeBackend()], clock=clock) as session:
        yield session


def ended(clock: FakeClock, name: str = "step", **options: Any) -> Session:
    """A session that is over."""
    with phasescope.start(backends=[FakeBackend()], clock=clock, **options) as session, phase(name):
        pass
    return session


def attached_id(*arguments: Any, **options: Any) -> str:
    with attach(*arguments, **options) as reader:
        session_id: str = reader.constants["session_id"]
        return session_id


def names(events: list[dict[str, Any]]) -> list[str]:
    """The names of the phases that begin among these events."""
    return [event["metadata"]["phase_scope"]["name"] for event in events if event["event_type"] == "phase_enter"]


# --- what attach() finds ---------------------------------------------------------------------------------------------


def test_attach_finds_a_session_by_pid_path_id_and_the_beginning_of_its_id(session: Session) -> None:
    assert session.path is not None
    for target in (
        *(session.pid, str(session.pid), session.path, Path(session.path), session.session_id),
        *(session.session_id[:8], session.session_id[:1], None),
    ):
        assert attached_id(target) == session.session_id, target


def test_attach_finds_a_session_of_another_process(elsewhere: Elsewhere) -> None:
    for target in (elsewhere.pid, elsewhere.session_id, elsewhere.session_id[:10], None):
        assert attached_id(target) == elsewhere.session_id


def test_of_several_it_is_the_one_started_last(clock: FakeClock) -> None:
    found = []
    for _ in range(3):
        found.append(ended(clock).session_id)
        clock.advance(ms=5)
    assert attached_id(os.getpid()) == attached_id() == found[-1]
    assert [attached_id(session_id) for session_id in found] == found


def test_one_that_runs_comes_before_those_that_are_over(session: Session, clock: FakeClock, tmp_path: Path) -> None:
    clock.advance(ms=3_600_000)
    child = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(1 << 20)], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    later = child.stdout.decode().strip()
    assert attached_id(later) == later
    assert attached_id() == session.session_id


def test_a_directory_can_be_named(clock: FakeClock, rings: Path) -> None:
    there = ended(clock, directory=rings)
    here = ended(clock)
    assert attached_id(directory=rings) == there.session_id
    assert attached_id() == here.session_id
    with pytest.raises(SessionNotFoundError):
        attach(here.session_id, directory=rings)


def test_files_that_are_no_rings_are_passed_over(session: Session) -> None:
    assert session.path is not None
    folder = Path(session.path).parent
    (folder / "node-1-9999999999999.ring").write_bytes(b"phscope\x00 and then nothing that makes sense" * 50)
    (folder / "node-2-9999999999999.ring").write_bytes(b"")
    (folder / "node-3-9999999999999.ring").mkdir()
    (folder / "node-4-9999999999999.ring").symlink_to(session.path)
    assert attached_id() == session.session_id


@pytest.mark.parametrize(
    ("target", "what"),
    [
        (None, "no session in "),
        (4242, "no session of pid 4242 in "),
        ("4242", "no session of pid 4242 in "),
        (0, "no session of pid 0 in "),
        (-1, "no session of pid -1 in "),
        ("beef", 'no "beef" in '),
        ("", 'no "" in '),
    ],
)
def test_where_there_is_none_it_says_what_was_looked_for_where_and_what_helps(
    tmp_path: Path, target: Any, what: str
) -> None:
    with pytest.raises(SessionNotFoundError) as caught:
        attach(target)
    assert str(caught.value) == f"{what}{tmp_path / 'phasescope'}; run `phasescope ls` to list sessions"
    assert isinstance(caught.value, LookupError)


def test_a_directory_that_can_not_be_looked_into_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "phasescope").mkdir()
    (tmp_path / "phasescope" / "node-1-1.ring").touch()
    (tmp_path / "phasescope").chmod(0o755)
    with pytest.raises(SessionNotFoundError, match=r"is open to others .* chmod 700"):
        attach()


@pytest.mark.parametrize("target", [True, 1.5, b"4242", [1]])
def test_a_target_of_a_wrong_type_raises(target: Any) -> None:
    with pytest.raises(TypeError, match="target must be a pid, a path, a session id or None, not a "):
        attach(target)


def test_a_path_that_leads_to_no_ring_raises_at_once(tmp_path: Path) -> None:
    text = tmp_path / "notes.ring"
    text.write_text("not a ring at all")
    with pytest.raises(FileNotFoundError):
        attach(tmp_path / "nowhere.ring")
    with pytest.raises(FileNotFoundError):
        attach("nowhere.ring")
    with pytest.raises(RingError, match="not a phasescope ring"):
        attach(text)
    with pytest.raises(SessionNotFoundError, match="is a directory"):
        attach(tmp_path)


# --- what a reader says ----------------------------------------------------------------------------------------------


def test_constants_events_and_records_are_what_the_session_itself_shows(session: Session) -> None:
    with phase("outer", n=1), phase("inner"):
        pass
    with attach(session.pid) as reader:
        assert reader.constants == session.reader().constants
        assert reader.constants["pid"] == os.getpid()
        assert reader.events() == session.events()
        assert reader.records() == session.records()
        assert list(reader.iter_events()) == session.events()
        assert reader.latest() == session.latest()
        assert reader.events(last=2) == session.events()[-2:]
        assert [record.record_id for record in reader.records(last=1)] == [session.records()[-1].record_id]
        assert (reader.written, reader.dropped, reader.missed, reader.damaged) == (6, 0, 0, 0)
        assert str(reader.path) == session.path
        assert str(os.getpid()) in repr(reader)
        assert [row.path for row in reader.summary().rows] == [("outer",), ("outer", "inner")]
        for event in reader.events():
            validate_event(event)


def test_a_reader_sees_what_is_written_later(session: Session) -> None:
    with attach(session.pid) as reader:
        assert names(reader.events()) == []
        with phase("later"):
            assert names(reader.events()) == ["later"]


def test_the_state_is_running_then_stopped(clock: FakeClock) -> None:
    session = phasescope.start(backends=[FakeBackend()], clock=clock)
    with attach(session.pid) as reader:
        assert reader.state == "running"
        assert reader.heartbeat_ns == clock.wall_ns()
        session.stop()
        assert reader.state == "stopped"
        assert [event["event_type"] for event in reader.events()] == ["start", "sample", "stop"]


def test_the_state_of_a_killed_process_is_dead_and_its_events_are_all_there(elsewhere: Elsewhere) -> None:
    written = elsewhere.phases("step", 100)
    with attach(elsewhere.pid) as reader:
        assert reader.state == "running"
        elsewhere.kill()
        assert reader.state == "dead"
        assert len(reader.events()) == reader.written == written == 202
    with attach(elsewhere.session_id) as again:
        assert names(again.events()) == ["step"] * 100
        assert again.latest() == again.events()[-1]


def test_a_reader_outlives_the_removal_of_the_file(clock: FakeClock) -> None:
    session = ended(clock, name="kept")
    assert session.path is not None
    with attach(session.path) as reader:
        Path(session.path).unlink()
        assert names(reader.events()) == ["kept"]
        assert reader.state == "stopped"
        assert list(reader.follow(from_start=True)) == reader.events()
    with pytest.raises(SessionNotFoundError):
        attach(session.session_id)


def test_a_running_session_outlives_the_removal_of_its_file(session: Session) -> None:
    assert session.path is not None
    with attach(session.pid) as reader:
        Path(session.path).unlink()
        with phase("after"):
            pass
        assert names(reader.events()) == names(session.events()) == ["after"]
        assert reader.state == "running"


def test_a_reader_whose_descriptor_was_closed_opens_its_file_again_and_no_other(clock: FakeClock) -> None:
    session = ended(clock)
    assert session.path is not None
    with attach(session.path) as reader:
        assert isinstance(reader, RingReader)
        assert reader._file is not None
        assert reader._file.fd is not None
        os.close(reader._file.fd)
        assert names(reader.events()) == ["step"]
        os.close(reader._file.fd)
        Path(session.path).rename(session.path + ".old")
        Path(session.path).write_bytes(Path(session.path + ".old").read_bytes())
        with pytest.raises(FileNotFoundError, match="another file is in its place"):
            reader.events()
        Path(session.path + ".old").rename(session.path)
        assert names(reader.events()) == ["step"]


# --- follow ----------------------------------------------------------------------------------------------------------


def test_follow_gives_what_another_process_writes_next_and_ends_when_it_stops(elsewhere: Elsewhere) -> None:
    elsewhere.phases("before")
    with attach(elsewhere.pid) as reader:
        following = reader.follow()
        for number in range(3):
            elsewhere.phases(f"step{number}")
            assert names([next(following), next(following)]) == [f"step{number}"]
        assert reader.state == "running"
        elsewhere.stop()
        rest = list(following)
    assert [(event["event_type"], event["context"]) for event in rest] == [
        ("sample", None),
        ("stop", "the interpreter exited"),
    ]


def test_follow_from_the_start_gives_what_is_kept_as_well(elsewhere: Elsewhere) -> None:
    elsewhere.phases("before", 5)
    with attach(elsewhere.pid) as reader:
        following = reader.follow(from_start=True)
        first = [next(following) for _ in range(12)]
        elsewhere.phases("after")
        elsewhere.stop()
        events = first + list(following)
        assert events == reader.events()
    assert names(events) == ["before"] * 5 + ["after"]
    check_order(events)


def test_follow_waits_and_is_woken_by_the_next_event(elsewhere: Elsewhere) -> None:
    waited, seen = threading.Event(), []
    with attach(elsewhere.pid) as reader:
        assert isinstance(reader, RingReader)
        real = reader._pause

        def pause(seconds: float) -> object:
            waited.set()
            return real(seconds)

        reader._pause = pause
        following = reader.follow()
        thread = threading.Thread(target=lambda: seen.extend([next(following), next(following)]))
        thread.start()
        assert waited.wait(CEILING_S)
        assert seen == []
        elsewhere.phases("woken")
        thread.join(CEILING_S)
        assert names(seen) == ["woken"]


def test_follow_ends_when_the_process_is_killed_and_gives_all_that_it_wrote(elsewhere: Elsewhere) -> None:
    with attach(elsewhere.pid) as reader:
        following = reader.follow()
        elsewhere.phases("step", 50)
        first = next(following)
        elsewhere.kill()
        events = [first, *following]
        assert reader.state == "dead"
    assert names(events) == ["step"] * 50
    assert len(events) == 100


@pytest.mark.parametrize("end", [Elsewhere.stop, Elsewhere.kill])
def test_follow_of_a_session_that_is_over_ends_at_once(elsewhere: Elsewhere, end: Callable[[Elsewhere], None]) -> None:
    elsewhere.phases("step")
    end(elsewhere)
    with attach(elsewhere.pid) as reader:
        assert list(reader.follow()) == []
        assert list(reader.follow(from_start=True)) == reader.events()


def test_several_followers_each_get_everything(elsewhere: Elsewhere) -> None:
    with attach(elsewhere.pid) as one, attach(elsewhere.pid) as two:
        first, second = one.follow(), two.follow()
        elsewhere.phases("step", 3)
        elsewhere.stop()
        events = list(first)
        assert list(second) == events
    assert names(events) == ["step"] * 3


# --- what a reader could not give ------------------------------------------------------------------------------------


def test_a_follower_that_is_lapped_counts_what_it_missed() -> None:
    small = Elsewhere(capacity_bytes=64 * 1024)
    try:
        with attach(small.pid) as reader:
            following = reader.follow()
            events = []
            for number in range(5):
                small.phases(f"n{number}", 2000)
                events += [next(following) for _ in range(3)]
            small.stop()
            events += list(following)
            assert len(events) + reader.missed == reader.written - 2, "all but start and its sample"
            assert reader.missed > 15_000
            assert reader.damaged == 0
            assert events[-1]["event_type"] == "stop"
        sequences = [event["metadata"]["phase_scope"]["sequence"] for event in events[:-2]]
        assert sequences == sorted(set(sequences))
    finally:
        small.clear_up()


def test_a_reader_beside_a_writer_at_full_speed_gives_only_true_events_and_counts_the_rest(clock: FakeClock) -> None:
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            number += 1
            with phase("step", n=number):
                pass

    with phasescope.start(backends=[FakeBackend()], clock=clock, capacity_bytes=64 * 1024) as session:
        with attach(session.pid) as reader:
            following = reader.follow()
            writer = threading.Thread(target=write)
            writer.start()
            try:
                events = [next(following) for _ in range(5000)]
            finally:
                over.set()
                writer.join()
            session.stop()
            events += list(following)
            assert len(events) + reader.missed == session.written - 2
            assert reader.damaged == 0
    assert [event["event_type"] for event in events[-2:]] == ["sample", "stop"]
    boundaries = events[:-2]
    for event in boundaries:
        validate_event(event)
        scope = event["metadata"]["phase_scope"]
        assert (scope["sequence"] + 1) // 2 == scope["attributes"]["n"], "each is what was written at its number"
    assert [event["metadata"]["phase_scope"]["sequence"] for event in boundaries] == sorted(
        {event["metadata"]["phase_scope"]["sequence"] for event in boundaries}
    )


def test_a_descriptor_that_the_program_closes_under_a_reading_is_opened_again(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    read, closed = _os_compat.pread, set[int]()

    def closed_meanwhile(fd: int, size: int, offset: int) -> bytes:
        if len(closed) < 2 and fd not in closed:
            closed.add(fd)
            os.close(fd)
        return read(fd, size, offset)

    with phasescope.start(backends=[FakeBackend()], clock=clock) as session:
        with phase("step"):
            pass
        with attach(session.pid) as reader, monkeypatch.context() as patched:
            patched.setattr(_os_compat, "pread", closed_meanwhile)
            assert [event["event_type"] for event in reader.events()][-1] == "phase_exit"
            assert closed


def test_missed_says_what_the_last_reading_lacks_of_all_that_was_written(clock: FakeClock) -> None:
    with phasescope.start(backends=[FakeBackend()], clock=clock, capacity_bytes=64 * 1024) as session:
        with attach(session.pid) as reader:
            assert len(reader.events()) == 2
            assert reader.missed == 0
            for _ in range(2000):
                with phase("step"):
                    pass
            kept = len(reader.events())
            assert reader.missed == 4002 - kept
            assert reader.written == 4002


def test_damage_is_counted_and_what_lies_around_it_is_given(clock: FakeClock) -> None:
    with phasescope.start(backends=[FakeBackend()], clock=clock) as session:
        for number in range(100):
            with phase("step", n=number):
                pass
    assert session.path is not None
    file = Path(session.path)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4] = bytes(255 - byte for byte in data[middle : middle + 4])
    file.write_bytes(data)
    with attach(file) as reader:
        events = reader.events()
        assert reader.damaged == 1
        assert len(events) == reader.written - 1
        assert reader.missed == 1
        assert reader.summary().damaged == 1


def test_a_record_that_is_whole_but_no_event_is_counted_as_damage(rings: Path) -> None:
    file = made.new_file(rings)
    file.writer.append(b"no MessagePack \xc1")
    with attach(file.path) as reader:
        assert reader.events() == []
        assert reader.damaged == 1
        assert reader.latest() is None
    made.let_go(file)


# --- close -----------------------------------------------------------------------------------------------------------


def test_a_closed_reader_holds_no_file_and_says_that_it_is_closed(session: Session) -> None:
    reader = attach(session.pid)
    following = reader.follow()
    assert isinstance(reader, RingReader)
    assert reader._file is not None
    fd = reader._file.fd
    assert fd is not None
    reader.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    ways: list[Callable[[], object]] = [
        *(reader.events, reader.records, reader.latest, reader.summary, lambda: next(following)),
        *(lambda: reader.state, lambda: reader.written, lambda: reader.heartbeat_ns, lambda: next(reader.follow())),
    ]
    for way in ways:
        with pytest.raises(ValueError, match="this reader is closed"):
            way()
    assert reader.constants["pid"] == session.pid
    reader.close()


def test_a_reader_is_closed_by_its_with_and_by_being_forgotten(session: Session) -> None:
    def open_here() -> int:
        link = os.path.realpath(str(session.path))
        return sum(os.path.realpath(f"/proc/self/fd/{fd}") == link for fd in os.listdir("/proc/self/fd"))  # noqa: PTH208

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not say what is open")
    before = open_here()
    with attach(session.pid) as reader:
        assert open_here() == before + 1
    assert open_here() == before
    forgotten = RingReader.open(reader.path or "")
    assert open_here() == before + 1
    del forgotten
    until(lambda: open_here() == before)


def test_closing_a_reader_ends_a_follower_in_another_thread(session: Session) -> None:
    ended_with: list[str] = []
    waiting = threading.Event()
    reader = attach(session.pid)
    assert isinstance(reader, RingReader)
    real = reader._pause

    def pause(seconds: float) -> object:
        waiting.set()
        return real(seconds)

    reader._pause = pause

    def follow() -> None:
        try:
            ended_with.extend(event["event_type"] for event in reader.follow())
        except ValueError as error:
            ended_with.append(str(error))

    thread = threading.Thread(target=follow)
    thread.start()
    assert waiting.wait(CEILING_S)
    reader.close()
    thread.join(CEILING_S)
    assert ended_with == ["this reader is closed"]


@pytest.mark.parametrize(("kind", "state"), [("nfs4", "running"), ("ext4", "dead")])
def test_where_another_machines_lock_may_not_be_seen_its_heartbeat_tells(
    kind: str, state: str, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_os_compat, "file_system", lambda fd: kind)
    file = made.new_file(rings)  # it says that its host is node-07
    file.writer.beat(time.time_ns() - 5_000_000_000, 0)
    made.let_go(file)
    with phasescope.attach(str(file.path)) as reader:
        assert reader.state == state
    file = made.new_file(rings, name="node-2-2")
    file.writer.beat(time.time_ns() - 90_000_000_000, 0)
    made.let_go(file)
    with phasescope.attach(str(file.path)) as reader:
        assert reader.state == "dead"
