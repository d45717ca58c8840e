"""Recordings whose files are moved, closed, cut or replaced: nothing else is harmed, and recording goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import _os_compat, attach
from phasescope.recordings.formats import parts
from phasescope.recordings.jsonl_writer import Writer
from phasescope.recordings.line_text import line_of
from phasescope.recordings.notes import Note
from phasescope.recordings.open_file import NotARecordingError, OpenFile
from phasescope.recordings.recorder import Recorder
from support.fakes.rings import forked
from support.recordings import ENDINGS, SESSION, Event, steps, write
from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
OF_ANOTHER = b'{"of": "somebody else"}\n' * 1000

IS_ROOT = hasattr(os, "getuid") and os.getuid() == 0
only_root = pytest.mark.skipif(not IS_ROOT, reason="another user's files can be made by root only")


def program(code: str, folder: Path, *arguments: object) -> None:
    """Run a training's code in `folder`, as a program of its own, that finds what it needs in `sys.argv`."""
    words = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=CEILING_S, check=False)
    assert done.returncode == 0, done.stderr


def new_writer(path: Path, **bounds: int) -> Writer:
    return Writer(path, lambda: line_of(Note(SESSION).to_event()), **bounds)


@pytest.fixture
def writers() -> Iterator[list[Writer]]:
    made: list[Writer] = []
    yield made
    for writer in made:
        writer.abandon()


def read(*paths: Path) -> list[Event]:
    """The events of files that are no parts of each other, each without damage."""
    found = []
    for path in paths:
        with attach(path) as reader:
            found += reader.events()
            assert reader.damaged == 0
    return found


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_daemon_that_closes_all_descriptors_keeps_its_checkpoints_and_its_recording(
    tmp_path: Path, ending: str
) -> None:
    code = """
        import os, sys, time
        import phasescope
        from phasescope.recordings.reader import RecordingReader

        path = sys.argv[1]
        session = phasescope.start(backends=["cpu"], record=path, peaks=True)
        with phasescope.phase("before"):
            pass
        os.closerange(3, 4096)
        files = [open(f"checkpoint-{number}", "w+b", buffering=0) for number in range(20)]
        for file in files:
            file.write(b"weights" * 1000)
        for number in range(500):
            with phasescope.phase("after"):
                pass
        deadline = time.monotonic() + 600
        while True:
            with RecordingReader.open(path) as reader:
                if reader.written >= 1000:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        session.stop()
        for file in files:
            file.seek(0)
            assert file.read() == b"weights" * 1000, file.name
            file.close()  # raises where somebody has closed the descriptor
        with RecordingReader.open(path) as reader:
            assert reader.events() == session.events()
            assert reader.state == "stopped"
    """
    program(code, tmp_path, f"run{ending}")


@pytest.mark.parametrize("moment", ["before it is written", "amid the writing"])
def test_a_descriptor_closed_at_the_last_moment_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    file = OpenFile(tmp_path / "run.jsonl", is_new=True)
    file.append(b"before\n")
    closed: list[int] = []

    def close_once(fd: int) -> None:
        if not closed:
            os.close(fd)
            closed.append(fd)

    real_write, real_size = os.write, file.size

    def write_to_a_closed_one(fd: int, data: bytes) -> int:
        close_once(fd)
        return real_write(fd, data)

    def size_and_close() -> int:
        size = real_size()
        close_once(file._fd)
        return size

    if moment == "amid the writing":
        monkeypatch.setattr(os, "write", write_to_a_closed_one)
    else:
        monkeypatch.setattr(file, "size", size_and_close)
    file.append(b"after\n")
    file.close()
    assert closed
    assert file.path.read_bytes() == b"before\nafter\n"


def test_a_file_let_go_of_is_not_opened_again(tmp_path: Path) -> None:
    file = OpenFile(tmp_path / "run.jsonl", is_new=True)
    file.close()
    with pytest.raises(OSError, match="closed the descriptor"):
        file.append(b"late\n")
    assert file.path.read_bytes() == b""


def test_a_path_goes_on_to_mean_the_same_file_after_a_change_of_directory(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir()
    other.mkdir()
    write(other / "run.jsonl", steps(4000), max_bytes=400_000, part_bytes=80_000)
    before = {path.name: path.read_bytes() for path in other.iterdir()}
    assert len(before) > 2
    code = """
        import os, sys
        import phasescope

        with phasescope.start(backends=["cpu"], record="run.jsonl", record_bytes=1 << 20):
            os.chdir(sys.argv[1])
            for _ in range(3000):
                with phasescope.phase("step"):
                    pass
    """
    program(code, mine, other)
    assert {path.name: path.read_bytes() for path in other.iterdir()} == before
    assert len(parts(mine / "run.jsonl")) > 2
    with attach(mine / "run.jsonl") as reader:
        assert reader.state == "stopped"


@pytest.fixture
def closed() -> Iterator[Path]:
    """A directory for `as_nobody`, in none that is root's alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "closed"
        folder.mkdir()
        if IS_ROOT:
            os.chown(folder, NOBODY, NOBODY)
        yield folder
        folder.chmod(0o700)


def as_nobody() -> None:
    """For a forked child: root may list whatever there is."""
    if IS_ROOT:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def test_where_a_directory_can_not_be_listed_no_part_replaces_another(closed: Path) -> None:
    folder = closed
    (folder / "run.1.jsonl").write_bytes(OF_ANOTHER)
    path = folder / "run.jsonl"
    events = steps(2000)

    def record(acknowledged: memoryview) -> None:
        as_nobody()
        folder.chmod(0o300)
        write(path, events, max_bytes=10**7, part_bytes=80_000)
        acknowledged[0] = 1

    forked(record).join()
    folder.chmod(0o700)
    assert (folder / "run.1.jsonl").read_bytes() == OF_ANOTHER
    (folder / "run.1.jsonl").unlink()
    assert len(parts(path)) > 4
    assert read(path) == events


def test_the_bound_holds_where_a_directory_can_not_be_listed(closed: Path) -> None:
    folder = closed

    def record(acknowledged: memoryview) -> None:
        as_nobody()
        folder.chmod(0o300)
        write(folder / "run.jsonl", steps(4000), max_bytes=400_000, part_bytes=80_000)
        acknowledged[0] = 1

    forked(record).join()
    folder.chmod(0o700)
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 400_000


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_that_are_only_named_like_parts_are_not_removed(tmp_path: Path, ending: str) -> None:
    shards = [tmp_path / f"train.{number}{ending}" for number in (1, 2, 7)]
    for shard in shards:
        shard.write_bytes(OF_ANOTHER * 20)
    (tmp_path / f"train.8{ending}").symlink_to(tmp_path / "elsewhere")
    bound = 400_000 if ending == ".jsonl" else 60_000
    write(tmp_path / f"train{ending}", steps(4000), max_bytes=bound, part_bytes=bound // 5)
    assert all(shard.read_bytes() == OF_ANOTHER * 20 for shard in shards)
    assert (tmp_path / f"train.8{ending}").is_symlink()
    own = [file for file in tmp_path.iterdir() if file not in shards and not file.is_symlink()]
    assert sum(file.stat().st_size for file in own) <= bound


def moved_after(count: int, events: list[Event], path: Path, moved: Path, writers: list[Writer]) -> Writer:
    """Return the writer of a recording that is moved after `count` of the events."""
    writer = new_writer(path)
    writers.append(writer)
    for event in events[:count]:
        writer.write(line_of(event))
    path.rename(moved)
    return writer


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_recording_that_is_moved_or_removed_is_begun_anew(tmp_path: Path, ending: str, writers: list[Writer]) -> None:
    path, moved = tmp_path / f"run{ending}", tmp_path / f"moved{ending}"
    events = steps(300)
    writer = moved_after(200, events, path, moved, writers)
    for event in events[200:400]:
        writer.write(line_of(event))
    assert read(moved, path) == events[:400]
    path.unlink()
    for event in events[400:]:
        writer.write(line_of(event))
    writer.close()
    assert read(path) == events[400:]


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_was_put_in_its_place_is_not_touched(tmp_path: Path, ending: str, writers: list[Writer]) -> None:
    path, moved = tmp_path / f"run{ending}", tmp_path / f"moved{ending}"
    events = steps(300)
    writer = moved_after(200, events, path, moved, writers)
    other = write(path, steps(3)).read_bytes()
    for event in events[200:]:
        writer.write(line_of(event))
    writer.close()
    assert path.read_bytes() == other
    assert writer.path == tmp_path / f"run.pid{os.getpid()}{ending}"
    assert read(moved, writer.path) == events


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_recording_that_is_emptied_or_written_into_goes_on_in_a_sound_file(
    tmp_path: Path, ending: str, writers: list[Writer]
) -> None:
    path = tmp_path / f"run{ending}"
    events = steps(300)
    writer = new_writer(path)
    writers.append(writer)
    for event in events[:200]:
        writer.write(line_of(event))
    os.truncate(path, 0)  # as `logrotate` does with `copytruncate`
    for event in events[200:400]:
        writer.write(line_of(event))
    assert read(path) == events[200:400]
    with path.open("ab") as file:
        file.write(b"what somebody else adds")
    for event in events[400:]:
        writer.write(line_of(event))
    writer.close()
    with attach(path) as reader:
        found = reader.events()
        assert reader.damaged >= 1
    assert found[-200:] == events[400:]
    assert [event for event in events[200:] if event in found] == found
    assert len(found) == 400 or (ending != ".jsonl" and len(found) > 350)  # of the block before it the end is lost
    assert b"what somebody else adds" in parts(path)[0].read_bytes()


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_failed_rotation_costs_nothing_once_there_is_room_again(
    tmp_path: Path, ending: str, writers: list[Writer]
) -> None:
    path = tmp_path / f"run{ending}"
    events = steps(1500)
    writer = new_writer(path, max_bytes=10**7, part_bytes=80_000 if ending == ".jsonl" else 8_000)
    writers.append(writer)
    refused = 0
    for index, event in enumerate(events):
        try:
            with no_more_files() if index >= 100 and not refused else contextlib.nullcontext():
                writer.write(line_of(event))
        except OSError:
            refused += 1
            with no_more_files():
                for _ in range(20):
                    with pytest.raises(OSError, match="Too many"):
                        writer.write(line_of(event))
            writer.write(line_of(event))
    writer.close()
    assert refused == 1
    assert len(parts(path)) > 3
    assert read(path) == events


def test_no_signal_comes_of_a_limit_on_files_and_the_next_part_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    events = steps(400)

    def record(acknowledged: memoryview) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, unless a program sets it back
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        writer = new_writer(path)
        for event in events:
            try:
                writer.write(line_of(event))
            except OSError:
                acknowledged[0] += 1
                writer.write(line_of(event))
        writer.close()

    child = forked(record)
    child.join()
    assert child.acknowledged[0] == len(parts(path)) - 1 > 3
    assert read(path) == events


def test_a_batch_that_fits_in_no_file_leaves_none_behind(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"

    def record(acknowledged: memoryview) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, resource.RLIM_INFINITY))
        writer = new_writer(path)
        for _ in range(50):
            with pytest.raises(OSError, match="too large"):
                writer.write(line_of(steps(1)[0]) * 10)
        writer.write(line_of(steps(1)[0]))
        writer.close()

    forked(record).join()
    assert parts(path) == [path]
    assert read(path) == steps(1)[:1]


def test_a_recorder_from_outside_ends_with_the_session_though_it_can_not_write(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    session = phasescope.start(backends=["cpu"])
    recorder = Recorder(session.reader(), folder / "run.jsonl", part_bytes=4096)
    (folder / "run.jsonl").unlink()
    folder.rmdir()
    for _ in range(2000):
        with phasescope.phase("step"):
            pass
    session.stop()
    began = time.monotonic()
    recorder.run()
    assert time.monotonic() - began < CEILING_S
    assert recorder.lost + recorder.events == session.written
    assert recorder.lost > 0


def test_a_recorder_goes_on_with_all_that_came_once_its_file_can_be_written_again(tmp_path: Path) -> None:
    folder, away = tmp_path / "here", tmp_path / "away"
    folder.mkdir()
    path = folder / "run.jsonl"
    with phasescope.start(backends=["cpu"], record=path, record_bytes=1 << 20) as session:
        assert session._optional.recording is not None
        recorder = session._optional.recording.recorder
        folder.rename(away)

        def has_failed() -> bool:
            for _ in range(20):
                with phasescope.phase("step"):
                    pass
            return recorder.failures > 0

        until(has_failed, pause_s=0.02)
        folder.mkdir()
        until(path.exists)
    assert recorder.lost == 0
    found = [event for place in (away, folder) for event in read(place / "run.jsonl")]
    assert found == session.events()


@only_root
def test_another_users_recording_or_link_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", steps(1))
    before = path.read_bytes()
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(NotARecordingError, match=f"belongs to user {NOBODY}"):
        phasescope.start(backends=["cpu"], record=path)
    assert path.read_bytes() == before
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "target.jsonl")
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(PermissionError, match=f"link of user {NOBODY}"):
        phasescope.start(backends=["cpu"], record=link)
    assert not (tmp_path / "target.jsonl").exists()


def test_a_recording_that_others_can_read_is_said_to_be(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", steps(1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with (
        pytest.warns(phasescope.PhasescopeWarning, match="chmod 600"),
        phasescope.start(backends=["cpu"], record=path),
    ):
        pass


def test_a_recording_behind_a_link_is_rotated_beside_its_file(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "run.jsonl"
    link.symlink_to(tmp_path / "disk" / "big.jsonl")
    events = steps(2000)
    write(link, events, max_bytes=10**7, part_bytes=80_000)
    assert link.is_symlink()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["run.jsonl"]
    assert len(parts(tmp_path / "disk" / "big.jsonl")) > 4
    assert read(link) == events


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_where_the_file_system_has_no_locks_it_is_recorded_all_the_same(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> bool:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "run.jsonl"
    with monkeypatch.context() as patched:  # Lustre mounted without -o flock
        patched.setattr(_os_compat, "lock", refuse)
        patched.setattr(_os_compat, "is_locked", refuse)
        writer = new_writer(path)
        writer.write(line_of(steps(1)[0]))
        with attach(path) as reader:
            assert reader.state == "unknown"
            assert len(reader.events()) == 1
        writer.close()


def test_a_start_behind_a_large_recording_does_not_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "run.jsonl", steps(50))
    taken: list[Any] = []
    monkeypatch.setattr("phasescope.recordings.source.parse", lambda line: taken.append(line))
    with phasescope.start(backends=["cpu"], record=path):
        pass
    assert not taken
