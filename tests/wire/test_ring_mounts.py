"""A ring on real file systems that fill up, and a ring that is shortened, written over or removed while it is written:
the training goes on, and nothing else that it does changes. Each of these used to end it by SIGBUS."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from mmap import PAGESIZE
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import phasescope
from phasescope import _native, _os_compat
from phasescope.wire import ring
from support.fakes.mounts import mounted
from support.fakes.processes import in_forked_child, in_new_python
from support.fakes.rings import let_go, new_file, read_all, ring_of
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts of Linux")

MIB = 2**20
# 20,000 phases of a training go several times round a ring of this size.
TRAINING = """
import json, sys
import phasescope

session = phasescope.start(capacity_bytes=1 << 20, interval_ms=int(sys.argv[1]))
for line in sys.stdin:
    if line.strip() == "stop":
        session.stop()
    for n in range(0 if line.strip() == "stop" else int(line)):
        with phasescope.phase("step", n=n):
            pass
    last = [event["metadata"]["phase_scope"]["attributes"]["n"]
            for event in session.events() if event["event_type"] == "phase_exit"][-1:]
    print(json.dumps([session.path, last, session.dropped, session.latest()["event_type"]]), flush=True)
"""


class Training(NamedTuple):
    """A training in a process of its own, which goes on for as many phases as it is told."""

    process: subprocess.Popen[str]

    def go(self, steps: int | str) -> list[Any]:
        """The ring's path, the number of the last phase in it, how many events were dropped, and the newest event."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the training ended with {self.process.wait(CEILING_S)}"
        told: list[Any] = json.loads(line)
        return told

    def end(self) -> str:
        """Close it down; what it said on its error stream."""
        _, said = self.process.communicate(timeout=CEILING_S)
        assert self.process.returncode == 0
        return said


@contextlib.contextmanager
def training(directory: Path, interval_ms: int = 10, **options: Any) -> Iterator[Training]:
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(interval_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PHASESCOPE_DIR": str(directory)},
        **options,
    )
    try:
        yield Training(process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(params=["btrfs", "xfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk of a few MiB."""
    with mounted(request.param, tmp_path) as place:
        yield place


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 16 MiB."""
    with mounted("tmpfs", tmp_path) as place:
        yield place


def fill(place: Path) -> None:
    """Until not one block can be had, also not by what is written in vain to look for one."""
    for size in (MIB, 4096):
        with contextlib.suppress(OSError), (place / f"filling {size}").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(size))
                os.fsync(file.fileno())


def written_back(place: Path) -> None:
    """What was written goes to the disk now: the next store into each page needs room again."""
    with contextlib.suppress(OSError):
        subprocess.run(["sync", "-f", str(place)], check=False, timeout=CEILING_S)


def test_a_disk_that_fills_up_ends_no_training_and_loses_no_event_of_it(disk: Path) -> None:
    with training(disk) as run:
        path, last, *_ = run.go(100)
        assert last == [99]
        if disk.name == "xfs":  # blocks that two files share are copied when they are written to
            subprocess.run(["cp", "--reflink=always", path, f"{path}.copy"], check=True)
        written_back(disk)
        fill(disk)
        for n in range(3):
            written_back(disk)
            assert run.go(20_000 + n)[:3] == [path, [19_999 + n], 0]
        assert run.go("stop") == [path, [20_001], 0, "stop"]
        run.end()


def test_a_ring_comes_back_to_its_file_when_the_disk_has_room_again(tmp_path: Path) -> None:
    with mounted("btrfs", tmp_path) as disk, training(disk) as run:
        path, *_ = run.go(20_000)
        written_back(disk)
        fill(disk)
        for n in range(3):
            written_back(disk)
            run.go(20_000 + n)
        for filling in disk.glob("filling*"):
            filling.unlink()
        written_back(disk)
        run.go(5)
        assert run.go("stop")[1:] == [[4], 0, "stop"]
        said = run.end()
        with phasescope.attach(path) as reader:
            assert (reader.state, reader.events()[-1]["event_type"], reader.damaged) == ("stopped", "stop", 0)
    assert said == "" or said.startswith("the ring file could not be written; the session goes on in this process's")
    assert said.count("\n") <= 1


def shortened(path: Path) -> None:
    os.truncate(path, 0)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def copied_over(path: Path) -> None:
    shutil.copyfile(path.parent / "other", path)


def copied_over_by_less(path: Path) -> None:
    path.write_bytes(b"something else")


def removed(path: Path) -> None:
    path.unlink()


def removed_with_its_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize(
    "harm", [shortened, cut_in_half, copied_over, copied_over_by_less, removed, removed_with_its_directory]
)
@pytest.mark.parametrize("place", ["tmpfs", "disk"])
def test_a_ring_file_that_is_harmed_ends_no_training(
    place: str, harm: Callable[[Path], None], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every record is in the ring afterwards, as the training itself sees it."""
    directory = request.getfixturevalue("tmpfs") if place == "tmpfs" else tmp_path / "disk"
    # Root's ring on a tmpfs may be cut between a check and a store (docs/limits.md): no sample comes just then.
    with training(directory, 3_600_000 if place == "tmpfs" else 10) as run:
        path = Path(run.go(20_000)[0])
        shutil.copyfile(path, path.parent / "other")
        harm(path)
        for n in range(3):
            assert run.go(3000 + n)[:3] == [str(path), [2999 + n], 0]
        assert run.go("stop") == [str(path), [3001], 0, "stop"]
        run.end()
    if not harm.__name__.startswith("removed"):
        with phasescope.attach(path) as reader:
            assert (reader.state, reader.events()[-1]["event_type"]) == ("stopped", "stop"), "it came back to its file"


@pytest.mark.skipif(_os_compat.user_id() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("harm", [shortened, cut_in_half, copied_over, copied_over_by_less])
def test_on_a_tmpfs_a_users_ring_can_not_be_shortened(harm: Callable[[Path], None]) -> None:
    """So that it can be stored into directly, at the least cost."""
    folder = Path(tempfile.mkdtemp())  # pytest's own are out of another user's reach
    folder.chmod(0o755)

    def child() -> list[str]:
        os.setuid(65534)
        file = new_file(folder / "tmpfs" / "rings")
        path = Path(str(file.path))
        shutil.copyfile(path, path.parent / "other")
        with pytest.raises(PermissionError):
            harm(path)
        file.writer.append(b"a record")
        with ring_of(path) as reader:
            return [type(file.writer).__name__, read_all(reader)[0][1].decode()]

    try:
        with mounted("tmpfs", folder):
            assert in_forked_child(child) == ["RingWriter", "a record"]
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("place", ["tmpfs", "disk"])
def test_where_a_ring_can_be_shortened_the_kernel_stores(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    directory = request.getfixturevalue("tmpfs") if place == "tmpfs" else tmp_path / "disk"
    file = new_file(directory / "rings")
    on_tmpfs = ("CheckedWriter", "GuardedWriter") if _os_compat.user_id() == 0 else ("RingWriter",)
    assert type(file.writer).__name__ in (("GuardedWriter",) if place == "disk" else on_tmpfs)
    let_go(file)


@pytest.mark.skipif(_os_compat.user_id() != 0, reason="only root's rings are asked for their pages")
@pytest.mark.skipif(not _native.has_phases, reason="the compiled core's way to ask")
@pytest.mark.parametrize("behind", [*range(1, 25), *range(92, 116)])
def test_a_record_of_which_any_byte_lies_behind_a_files_end_is_not_stored(behind: int, tmpfs: Path) -> None:
    """The kernel is asked by a store of a few bytes: it must come to both pages of a record that lies in two."""
    file = new_file(tmpfs / "rings")
    writer: Any = file.writer
    assert type(writer).__name__ == "CheckedWriter"
    for size in (1000, 1000, 1000, PAGESIZE + behind - 3000 - 116):
        assert writer._try_append(bytes(size - 16))
    os.truncate(str(file.path), writer.layout.data_offset + PAGESIZE)
    try:
        assert in_forked_child(lambda: writer._try_append(bytes(100))) is False
    finally:
        let_go(file)


RECORDED = """
import os, threading
import phasescope

session = phasescope.start(capacity_bytes=1 << 20, interval_ms=10, directory={directory!r}, record={recording!r})
seen = threading.Semaphore(0)

def see(record):
    if record.event_type == "phase_exit":
        seen.release()

subscription = session.subscribe(see)
for n in range(300):
    with phasescope.phase("step", n=n):
        pass
    assert seen.acquire(timeout={ceiling})
    if n % 100 == 50:
        os.truncate(session.path, 1000)
session.stop()
print(subscription.missed, subscription.errors)
"""


def test_a_recording_and_a_subscriber_go_on_where_the_ring_file_is_shortened(tmp_path: Path) -> None:
    """What they had not read by then is lost with the file."""
    recording = tmp_path / "run.jsonl"
    said = in_new_python(
        RECORDED.format(directory=str(tmp_path / "rings"), recording=str(recording), ceiling=CEILING_S)
    )
    assert said.split()[1] == "0"
    with phasescope.attach(recording) as reader:
        steps = [event["metadata"]["phase_scope"] for event in reader.events() if event["event_type"] == "phase_exit"]
    numbers = [step["attributes"]["n"] for step in steps]
    assert numbers == sorted(set(numbers))
    assert numbers[-48:] == list(range(252, 300))


def test_a_writer_does_not_come_back_while_somebody_may_still_write_into_the_file(tmp_path: Path) -> None:
    """Whoever opens a file again has cut it first, and writes a moment later."""
    file = new_file(tmp_path / "rings")
    path = Path(str(file.path))
    size = path.stat().st_size
    os.truncate(path, 0)
    file.writer.beat(1_000_000_000, 0)
    assert file.writer.memory is not None
    file.writer.beat(1_010_000_000, 0)
    file.writer.beat(1_999_000_000, 0)
    assert path.stat().st_size == 0
    file.writer.append(b"amid it")
    file.writer.beat(2_011_000_000, 0)
    memory: object = file.writer.memory  # else mypy holds it for what it was
    assert (memory, path.stat().st_size) == (None, size)
    with ring_of(path) as reader:
        assert [data for _, data in read_all(reader)] == [b"amid it"]
    let_go(file)


def test_an_older_header_written_over_a_ring_is_put_right(tmp_path: Path) -> None:
    """A copy that was made a segment ago leaves its oldest position there, and the next record a head of now."""
    session = phasescope.start(capacity_bytes=1 << 16, interval_ms=3_600_000, directory=str(tmp_path))
    for n in range(2000):
        with phasescope.phase("step", n=n):
            pass
    header = Path(str(session.path)).read_bytes()[: ring.PEEK_BYTES]
    oldest = ring.peek(header).oldest  # type: ignore[union-attr]
    before = session.events()
    with Path(str(session.path)).open("r+b") as file:
        file.seek(8 * ring.OLDEST)
        file.write(struct.pack("=Q", oldest - (1 << 15)))
    assert session.events() == before
    session.stop()
    with phasescope.attach(str(session.path)) as reader:
        assert reader.events()[-1]["event_type"] == "stop"
