"""Where rings lie: which directories are used and which refused, who may read them, and what is swept away when."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import _os_compat
from phasescope.wire import ring, ring_directories, ring_files, ring_sweep
from phasescope.wire.ring_directories import DirectoryError
from support.fakes.mounts import mounted
from support.fakes.processes import in_forked_child
from support.fakes.rings import CONSTANTS, forked, let_go, new_file, read_all, ring_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(not _os_compat.CAN_SHARE_FILES, reason="here rings lie in memory only")
as_root = pytest.mark.skipif(_os_compat.user_id() != 0, reason="only root can give a file away")

NOBODY = 65534
DAY_S = 24 * 3600


def mode_of(path: Path | str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def create_in(directory: Path | str, name: str = "node-1-1") -> Path:
    """A ring as a session that was killed leaves it."""
    file = ring_files.create(CONSTANTS, ring.MIN_CAPACITY_BYTES, str(directory), name)
    let_go(file)
    assert file.path is not None
    return Path(file.path)


def refused(directory: Path | str) -> str:
    """What `create` says of a directory that it refuses; nothing is left in it."""
    with pytest.raises(DirectoryError) as caught:
        ring_files.create(CONSTANTS, ring.MIN_CAPACITY_BYTES, str(directory), "node-1-1")
    return str(caught.value)


# Which places, in which order


@pytest.fixture
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """No directory is named by anyone."""
    monkeypatch.delenv("PHASESCOPE_DIR")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


def in_temporary() -> str:
    return str(Path(tempfile.gettempdir()) / f"phasescope-{os.getuid()}")


def in_shared_memory() -> list[str]:
    return [f"/dev/shm/phasescope-{os.getuid()}"] if Path("/dev/shm").is_dir() else []


@pytest.mark.usefixtures("nothing_said")
def test_the_users_run_time_directory_comes_before_shared_memory_and_that_before_the_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ring_directories.places() == [*in_shared_memory(), in_temporary()]
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert ring_directories.places() == [str(tmp_path / "phasescope"), *in_shared_memory(), in_temporary()]


def test_what_start_says_comes_before_the_environment_and_each_is_the_only_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PHASESCOPE_DIR", str(tmp_path / "environment"))
    assert ring_directories.places() == [str(tmp_path / "environment")]
    assert ring_directories.places(tmp_path / "argument") == [str(tmp_path / "argument")]
    assert create_in("").parent == tmp_path / "environment"


def test_a_home_and_a_relative_path_are_spelled_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert (
        ring_directories.places("~/rings")
        == ring_directories.places("rings")
        == ring_directories.places("./x/../rings")
    )
    assert ring_directories.places("rings") == [str(tmp_path / "rings")]


@pytest.mark.usefixtures("nothing_said")
@pytest.mark.parametrize("runtime", ["", "missing", "a file", pytest.param("theirs", marks=as_root)])
def test_a_run_time_directory_that_is_not_this_users_own_is_no_place(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "theirs").mkdir()
    if runtime == "theirs":
        os.chown(tmp_path / "theirs", NOBODY, NOBODY)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / runtime) if runtime else "")
    assert ring_directories.places() == [*in_shared_memory(), in_temporary()]


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three places, none of which exists yet, instead of the machine's."""
    found = [tmp_path / name for name in ("first", "second", "third")]
    monkeypatch.setattr(ring_directories, "places", lambda directory=None: [str(path) for path in found])
    return found


def test_a_place_that_is_refused_is_passed_over_for_the_next(three: list[Path]) -> None:
    three[0].touch()
    three[1].mkdir()
    three[1].chmod(0o755)
    assert create_in("").parent == three[2]
    three[1].chmod(0o700)
    assert create_in("").parent == three[1]


def test_where_all_are_refused_each_is_named_with_its_reason(three: list[Path]) -> None:
    three[0].touch()
    three[1].symlink_to(three[0])
    three[2].mkdir(mode=0o700)
    three[2].chmod(0o770)
    text = refused("")
    assert f"{three[0]} is not a directory" in text
    assert f"{three[1]} is a symbolic link" in text
    assert f"{three[2]} is open to others (mode 0770)" in text


def test_all_but_the_last_place_must_have_room_for_eight_rings(
    three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = ring.plan(CONSTANTS, ring.MIN_CAPACITY_BYTES).size
    free = {str(three[0]): 8 * size - 1, str(three[1]): 8 * size, str(three[2]): 0}

    class Room:
        f_frsize = 1

        def __init__(self, path: str) -> None:
            self.f_bavail = free[path]

    monkeypatch.setattr(os, "statvfs", Room)
    assert create_in("").parent == three[1]
    free[str(three[1])] = 0
    assert create_in("").parent == three[2], "the last one is tried whatever it has: it is a disk"
    three[2].chmod(0o755)
    assert f"less than 8 times the ring's {size}" in refused("")


def test_sessions_are_found_in_every_place_the_newest_first(three: list[Path]) -> None:
    for name in ("node-1-5", "node-2-7", "node-3-6"):
        create_in("", name)
        three.append(three.pop(0))
    assert all(place.is_dir() for place in three)
    assert [path.name for path in ring_files.find()] == ["node-2-7.ring", "node-3-6.ring", "node-1-5.ring"]
    three[1].chmod(0o755)  # others could have put theirs there
    assert [path.name for path in ring_files.find()] == ["node-3-6.ring", "node-1-5.ring"]


# Whose they are


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_directory_and_file_are_the_users_alone_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        path = create_in(tmp_path / "deep" / "rings")
    finally:
        os.umask(before)
    assert mode_of(path) == 0o600
    assert mode_of(path.parent) == 0o700
    assert path.lstat().st_uid == os.getuid()


OPEN_MODES = [0o701, 0o710, 0o720, 0o740, 0o770, 0o755, 0o777, 0o1777, 0o2775]


@pytest.mark.parametrize("mode", OPEN_MODES)
def test_in_a_directory_that_others_enter_rings_lie_in_a_folder_of_the_users_own(mode: int, rings: Path) -> None:
    (rings / "notes.txt").write_text("not ours")
    rings.chmod(mode)
    path = create_in(rings)
    assert path.parent == rings / f"phasescope-{os.getuid()}"
    assert (mode_of(path.parent) & 0o777, mode_of(rings)) == (0o700, mode), "the directory is the user's to change"
    assert ring_files.find(rings) == [path]
    assert ring_directories.not_looked_into(rings) == []
    assert ring_directories.describe_directory(rings) == [(str(path.parent), True, "")]
    assert ring_sweep.clean(rings) == [path]


def test_rings_are_found_on_where_their_directory_is_closed_to_others_later(rings: Path) -> None:
    rings.chmod(0o755)
    before = create_in(rings, "node-1-1")
    rings.chmod(0o700)
    after = create_in(rings, "node-2-2")
    assert after.parent == rings
    assert ring_files.find(rings) == [after, before]


def test_rings_in_a_directory_that_was_opened_to_others_are_not_shown_and_this_is_said(rings: Path) -> None:
    """Others could have put theirs there."""
    create_in(rings)
    rings.chmod(0o755)
    assert ring_files.find(rings) == []
    (reason,) = ring_directories.not_looked_into(rings)
    assert reason == f"{rings} is open to others (mode 0755); run: chmod 700 {rings}"
    with pytest.raises(phasescope.SessionNotFoundError, match="is open to others"):
        phasescope.attach(directory=rings)


@pytest.mark.parametrize("mode", OPEN_MODES)
def test_a_folder_of_the_users_own_that_is_open_to_others_is_refused_with_the_command_that_mends_it(
    mode: int, rings: Path
) -> None:
    rings.chmod(0o755)
    own = rings / f"phasescope-{os.getuid()}"
    own.mkdir()
    own.chmod(mode)
    assert f"{own} is open to others (mode {mode:04o})" in refused(rings)
    assert list(own.iterdir()) == []
    assert mode_of(own) == mode, "it is the user's to change"
    assert ring_directories.describe_directory(rings)[0].ok is False


@as_root
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("mode", [0o1777, 0o777])
def test_users_who_share_a_directory_each_have_their_own_folder_in_it(mode: int, for_anyone: Path) -> None:
    for_anyone.chmod(mode)

    def child() -> list[str]:
        os.setuid(NOBODY)
        create_in(for_anyone, "node-1-1")
        return [str(path) for path in ring_files.find(for_anyone)]

    mine = create_in(for_anyone, "node-1-1")
    assert in_forked_child(child) == [str(for_anyone / f"phasescope-{NOBODY}" / "node-1-1.ring")]
    assert ring_files.find(for_anyone) == [mine]


@as_root
def test_a_folder_that_another_user_made_in_our_place_is_refused(for_anyone: Path) -> None:
    for_anyone.chmod(0o1777)
    own = for_anyone / f"phasescope-{os.getuid()}"
    own.mkdir(mode=0o700)
    os.chown(own, NOBODY, NOBODY)
    assert f"{own} belongs to user {NOBODY}" in refused(for_anyone)
    assert list(own.iterdir()) == []
    own.rmdir()
    own.symlink_to(for_anyone.parent)
    assert f"{own} is a symbolic link" in refused(for_anyone)


@as_root
def test_in_a_directory_of_another_user_that_is_open_to_others_there_is_a_folder_too(rings: Path) -> None:
    """In a container root writes into a directory that belongs to the user outside."""
    os.chown(rings, NOBODY, NOBODY)
    rings.chmod(0o755)
    assert create_in(rings).parent == rings / "phasescope-0"


def test_nobody_is_told_to_close_a_directory_that_others_use(three: list[Path]) -> None:
    for place, make in zip(three, (_with_sticky_bit, _with_somebody_elses_file, _with_sticky_bit), strict=True):
        place.mkdir()
        make(place)
    said = refused("")
    assert "chmod" not in said
    assert f"name a directory of its own, such as {in_temporary()}" in said


def _with_sticky_bit(place: Path) -> None:
    place.chmod(0o1777)


def _with_somebody_elses_file(place: Path) -> None:
    (place / "notes.txt").write_text("not ours")
    place.chmod(0o755)


@as_root
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc")
def test_nobody_is_told_to_close_a_directory_of_the_system() -> None:
    assert "chmod" not in refused("/proc")


def test_a_symbolic_link_in_the_place_of_the_directory_is_refused(rings: Path, tmp_path: Path) -> None:
    for name, target in (("link", rings), ("nowhere", tmp_path / "missing"), ("to itself", tmp_path / "to itself")):
        (tmp_path / name).symlink_to(target)
        assert "is a symbolic link; name the directory itself" in refused(tmp_path / name)
    assert list(rings.iterdir()) == []
    assert not (tmp_path / "missing").exists()
    create_in(rings)
    assert ring_files.find(tmp_path / "link") == []


@as_root
def test_a_directory_of_another_user_is_refused(rings: Path) -> None:
    os.chown(rings, NOBODY, NOBODY)
    assert f"{rings} belongs to user {NOBODY}; name another directory" in refused(rings)
    assert list(rings.iterdir()) == []
    assert ring_files.find(rings) == []


def test_what_is_not_a_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    assert "is not a directory" in refused(tmp_path / "file")
    assert "is not a directory" in refused(tmp_path / "pipe")
    assert "cannot be created: Not a directory" in refused(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def for_anyone() -> Iterator[Path]:
    """A directory that every user can reach, as pytest's are not."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("inside", [True, False])
def test_a_directory_without_the_right_to_write_is_refused(inside: bool, for_anyone: Path) -> None:
    """Root may write anywhere, so a child gives that up."""
    place = for_anyone / "rings" if inside else for_anyone
    for_anyone.chmod(0o555 if inside else 0o500)
    if os.getuid() == 0 and not inside:
        os.chown(for_anyone, NOBODY, NOBODY)

    def child() -> list[str]:
        if os.getuid() == 0:
            os.setuid(NOBODY)
        described = ring_directories.describe_directory(place)[0]
        assert not described.ok
        return [refused(place), described.reason]

    text, described = in_forked_child(child)
    for_anyone.chmod(0o700)
    assert "Permission denied; name another directory (PHASESCOPE_DIR, or start(directory=...))" in text
    assert f"no right to write in {for_anyone}" in described


@as_root
def test_another_users_file_is_neither_swept_nor_cleaned_and_only_root_reads_it(for_anyone: Path) -> None:
    place = for_anyone / "rings"
    path = create_in(place)
    os.chown(path, NOBODY, NOBODY)
    os.utime(path, (0, 0))
    ring_sweep.sweep(place)
    assert ring_sweep.clean(place) == []
    assert path.exists()
    os.chown(path, 0, 0)
    path.chmod(0o644)
    place.chmod(0o755)

    def child() -> str:
        os.setuid(NOBODY)
        with pytest.raises(PermissionError) as caught:
            ring_files.open_ring(path)
        return str(caught.value)

    assert in_forked_child(child) == f"{path}: belongs to user 0"


# What a file is


def test_a_name_that_is_taken_is_not_taken_away(rings: Path) -> None:
    """In containers that share a directory pids collide."""
    (rings / "node-1-1.ring").write_text("somebody's")
    (rings / "node-1-1.1.ring").symlink_to("nowhere")
    names = [create_in(rings).name for _ in range(2)]
    assert names == ["node-1-1.2.ring", "node-1-1.3.ring"]
    assert (rings / "node-1-1.ring").read_text() == "somebody's"
    assert [path.name for path in ring_files.find(rings)][:2] == names[::-1]


def _not_permitted(*_: str) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def _another_file(source: str, path: str) -> None:
    with Path(path).open("xb") as file:
        file.write(Path(source).read_bytes())


@pytest.mark.parametrize("link", [_not_permitted, _another_file], ids=["none", "another file"])
def test_where_links_are_none_the_file_is_renamed_and_nothing_replaced(
    link: Callable[..., None], rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on FAT, and on some network and user-space file systems."""
    monkeypatch.setattr(os, "link", link)
    (rings / "node-1-1.ring").write_text("somebody's")
    file = new_file(rings)
    assert file.path == str(rings / "node-1-1.1.ring")
    with phasescope.attach(file.path) as reader:
        assert reader.state == "running"
    let_go(file)
    assert (rings / "node-1-1.ring").read_text() == "somebody's"
    assert len(list(rings.iterdir())) == 2


def test_where_others_do_not_see_the_lock_there_is_no_file(rings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would take a live session for dead, and sweep its file away."""
    monkeypatch.setattr(_os_compat, "is_locked", lambda fd: False)
    assert f"a lock in {rings} is not seen by other processes; name another directory" in refused(rings)
    assert list(rings.iterdir()) == []


def test_a_hundred_of_one_name_are_enough(rings: Path) -> None:
    for attempt in range(100):
        (rings / f"node-1-1{f'.{attempt}' if attempt else ''}.ring").touch()
    assert "holds a hundred rings named node-1-1" in refused(rings)
    assert len(list(rings.iterdir())) == 100


def test_a_file_in_the_way_of_the_unfinished_one_is_never_opened(rings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A symbolic link there must not lead a writer out of the directory."""
    monkeypatch.setattr(time, "monotonic_ns", lambda: 7)
    victim = rings / "victim"
    victim.write_text("precious")
    (rings / ".node-1-1-7.ring.tmp").symlink_to(victim)
    assert "File exists" in refused(rings)
    assert victim.read_text() == "precious"


def test_all_its_pages_are_there_before_anything_is_written(rings: Path) -> None:
    path = create_in(rings)
    assert path.stat().st_blocks * 512 >= path.stat().st_size == ring.plan(CONSTANTS, ring.MIN_CAPACITY_BYTES).size


def limited_file(path: Path, size: int) -> list[int]:
    """The error of `allocate` beyond a limit of 1 MiB, and what it says where `size` is below that."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    fd = _os_compat.create_file(str(path))
    try:
        _os_compat.allocate(fd, size)
    except OSError as error:
        return [error.errno or 0]
    return [0, os.fstat(fd).st_size, os.fstat(fd).st_blocks * 512]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    "call", ["posix_fallocate", "no posix_fallocate", "a file system without it", "a container that forbids it"]
)
def test_pages_are_allocated_or_the_lack_of_room_is_an_error(
    call: str, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: int) -> None:
        raise OSError(errno.EPERM if call.endswith("forbids it") else errno.EOPNOTSUPP, "not supported")

    if call.startswith("no"):
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    elif call.startswith("a"):
        monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    assert in_forked_child(lambda: limited_file(rings / "large", 2**20 + 1)) == [errno.EFBIG]
    error, size, allocated = in_forked_child(lambda: limited_file(rings / "small", 2**20 - 5))
    assert (error, size) == (0, 2**20 - 5)
    assert allocated >= size


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_too_many_open_files_are_said_with_the_way_out(rings: Path) -> None:
    def child() -> str:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (1, 1))
        return refused(rings)

    assert "Too many open files; raise the limit (ulimit -n)" in in_forked_child(child)
    assert list(rings.iterdir()) == []


@pytest.mark.parametrize("failing", ["lock", "allocate", "_map", "_publish"])
def test_a_creation_that_fails_anywhere_leaves_no_file_and_no_descriptor(
    failing: str, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The descriptors are looked for after every test."""

    def fail(*_: object) -> bool:
        raise OSError(errno.EIO, "the disk is on fire")

    monkeypatch.setattr(ring_files if failing.startswith("_") else _os_compat, failing, fail)
    assert "the disk is on fire; name another directory" in refused(rings)
    assert list(rings.iterdir()) == []


# Who lives: the lock decides


def with_constants(pid: int) -> bytes:
    return CONSTANTS.replace(b'"pid": 4242', b'"pid": %d' % pid)


def test_a_pid_that_was_given_to_another_process_does_not_bring_a_session_back_to_life(rings: Path) -> None:
    file = ring_files.create(with_constants(os.getpid()), ring.MIN_CAPACITY_BYTES, str(rings), "node-1-1")
    with phasescope.attach(file.path or "") as reader:
        assert reader.state == "running"
        let_go(file)
        assert reader.constants["pid"] == os.getpid(), "a process of that number lives"
        assert reader.state == "dead"
    assert [str(path) for path in ring_sweep.clean(rings)] == [file.path]


def test_a_session_whose_pid_nobody_knows_here_is_running_while_its_lock_is_held(rings: Path) -> None:
    """In another container's namespace pids are others."""
    file = ring_files.create(with_constants(2**22 + 5), ring.MIN_CAPACITY_BYTES, str(rings), "node-1-1")
    with phasescope.attach(file.path or "") as reader:
        assert reader.state == "running"
        assert ring_sweep.clean(rings) == []
    let_go(file)


HOLDER = """
    import os, subprocess, sys
    import phasescope
    session = phasescope.start(capacity_bytes=65536)
    child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(shutil.which("sleep") is None, reason="no sleep here")
def test_a_program_that_it_started_and_that_outlives_it_does_not_hold_the_lock(tmp_path: Path) -> None:
    code = "\n".join(line[4:] for line in HOLDER.splitlines())
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        with phasescope.attach(process.pid) as reader:
            assert reader.state == "running"
            process.kill()
            process.wait()
            assert Path(f"/proc/{child}").exists() or not Path("/proc").is_dir()
            assert reader.state == "dead"
        os.kill(child, 9)


# What is swept


def aged(path: Path, seconds: float, beat: bool = True) -> Path:
    """As if its last sign of life was so long ago."""
    then_s = time.time() - seconds
    if beat:
        with path.open("r+b") as file:
            file.seek(80)
            file.write(struct.pack("=Q", int(then_s * 1e9)))
    os.utime(path, (then_s, then_s))
    return path


def test_the_last_so_many_dead_ones_stay(rings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_sweep, "KEEP_DEAD_FILES", 3)
    # Started in this order; but the first lived on until just now.
    paths = [aged(create_in(rings, f"node-{n}-{n}"), 100 - n) for n in range(6)]
    aged(paths[0], 1)
    ring_sweep.sweep(rings)
    assert set(rings.iterdir()) == {paths[0], paths[4], paths[5]}


def test_as_many_stay_as_are_promised(rings: Path) -> None:
    for n in range(ring_sweep.KEEP_DEAD_FILES + 2):
        create_in(rings, f"node-{n}-{n}")
    ring_sweep.sweep(rings)
    assert len(list(rings.iterdir())) == ring_sweep.KEEP_DEAD_FILES


def test_no_more_bytes_stay_than_were_promised(rings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [aged(create_in(rings, f"node-{n}-{n}"), 100 - n) for n in range(4)]
    monkeypatch.setattr(ring_sweep, "KEEP_DEAD_BYTES", 2 * paths[0].stat().st_blocks * 512)
    ring_sweep.sweep(rings)
    assert set(rings.iterdir()) == set(paths[2:])


def test_what_gave_its_last_sign_too_long_ago_goes(rings: Path) -> None:
    old = aged(create_in(rings, "node-1-1"), 7 * DAY_S + 60)
    written = aged(create_in(rings, "node-2-2"), 7 * DAY_S + 60)
    os.utime(written)  # the file was changed since, whatever its heartbeat says
    beaten = aged(create_in(rings, "node-3-3"), 7 * DAY_S - 60)
    os.utime(beaten, (0, 0))  # writing through memory leaves this as it was
    ring_sweep.sweep(rings)
    assert not old.exists()
    assert set(rings.iterdir()) == {written, beaten}


def test_a_live_one_stays_however_old_it_looks(rings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_sweep, "KEEP_DEAD_FILES", 0)
    file = new_file(rings)
    path = aged(Path(file.path or ""), 30 * DAY_S)
    ring_sweep.sweep(rings)
    assert ring_sweep.clean(rings) == []
    assert path.exists()
    let_go(file)
    ring_sweep.sweep(rings)
    assert not path.exists()


def test_what_is_not_ours_stays_whatever_its_name(rings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_sweep, "KEEP_DEAD_FILES", 0)
    monkeypatch.setattr(ring_sweep, "KEEP_DEAD_SECONDS", 0)
    ring_elsewhere = create_in(tmp_path / "elsewhere")
    (rings / "notes.txt").write_text("mine")
    (rings / "node-1-1.ring").write_text("no ring at all, but with its name, and " + "long " * 50)
    (rings / "node-2-2.ring").touch()
    (rings / "node-3-3.ring").symlink_to(ring_elsewhere)
    (rings / ".node-4-4-4.ring.tmp").symlink_to(ring_elsewhere)
    (rings / "node-5-5.ring").mkdir()
    create_in(rings, "node-6-6").rename(rings / "my copy.ring")
    before = set(rings.iterdir())
    for path in before:
        os.utime(path, (0, 0), follow_symlinks=False)
    ring_sweep.sweep(rings)
    assert set(rings.iterdir()) == before
    assert ring_elsewhere.exists()


@pytest.mark.parametrize("content", [b"", b"half a header"])
def test_what_a_killed_creation_left_goes_after_a_minute(content: bytes, rings: Path) -> None:
    fresh, old = rings / ".node-1-1-1.ring.tmp", rings / ".node-2-2-2.ring.tmp"
    for path, age_s in ((fresh, 30), (old, 90)):
        path.write_bytes(content)
        aged(path, age_s, beat=False)
    ring_sweep.sweep(rings)
    assert list(rings.iterdir()) == [fresh]


def test_one_that_is_being_made_for_long_is_left_to_it(rings: Path) -> None:
    path = rings / ".node-1-1-1.ring.tmp"
    fd = _os_compat.create_file(str(path))
    assert _os_compat.lock(fd)
    aged(path, 3600, beat=False)
    ring_sweep.sweep(rings)
    assert path.exists()
    os.close(fd)
    ring_sweep.sweep(rings)
    assert not path.exists()


def test_the_lock_of_one_that_is_just_being_made_is_not_even_tried(
    rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its maker would find it taken. Of the ranks of a job all start at once."""
    tried: list[int] = []

    def is_locked(fd: int) -> bool:
        tried.append(fd)
        return False

    monkeypatch.setattr(_os_compat, "is_locked", is_locked)
    (rings / ".node-1-1-1.ring.tmp").touch()
    ring_sweep.sweep(rings)
    assert tried == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_processes_that_start_and_sweep_at_once_all_get_their_files(rings: Path) -> None:
    def work(acknowledged: memoryview) -> None:
        acknowledged[0] = 1
        for n in range(40):
            ring_sweep.sweep(rings)
            let_go(new_file(rings, name=f"node-{os.getpid()}-{n}"))

    for writer in [forked(work) for _ in range(4)]:
        writer.join()
    assert {path.suffix for path in rings.iterdir()} == {".ring"}
    ring_sweep.sweep(rings)
    assert len(list(rings.iterdir())) == ring_sweep.KEEP_DEAD_FILES


def test_sweeping_a_directory_that_is_not_there_or_refused_does_nothing(rings: Path, tmp_path: Path) -> None:
    ring_sweep.sweep(tmp_path / "missing")
    path = aged(create_in(rings), 30 * DAY_S)
    rings.chmod(0o755)
    ring_sweep.sweep(rings)
    assert ring_sweep.clean(rings) == []
    assert path.exists()


def killed_in(directory: Path, records: int, name: str = "node-1-1", capacity_bytes: int = 2**22) -> Path:
    """A ring of 4 MiB with this number of records of 1000 bytes."""
    file = new_file(directory, capacity_bytes, name)
    for _ in range(records):
        file.writer.append(bytes(1000))
    let_go(file)
    return Path(str(file.path))


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux makes holes")
def test_a_dead_ring_gives_back_what_its_writer_never_came_to(rings: Path) -> None:
    short, lapped, empty = killed_in(rings, 100), killed_in(rings, 5000, "node-2-2"), killed_in(rings, 0, "node-3-3")
    before = [path.stat().st_size for path in (short, lapped, empty)]
    ring_sweep.sweep(rings)
    ring_sweep.sweep(rings)
    assert allocated(short) <= 2**17
    assert allocated(empty) <= 2**13
    assert allocated(lapped) >= 2**22
    assert [path.stat().st_size for path in (short, lapped, empty)] == before
    for path, count in ((short, 100), (lapped, None), (empty, 0)):
        with ring_of(path) as reader:
            records = read_all(reader)
            assert reader.damaged == 0
            assert count is None or len(records) == count
            assert all(payload == bytes(1000) for _, payload in records)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux makes holes")
def test_a_live_ring_gives_nothing_back(rings: Path) -> None:
    file = new_file(rings, 2**22)
    ring_sweep.sweep(rings)
    assert allocated(Path(str(file.path))) >= 2**22
    let_go(file)


def test_dead_rings_take_an_eighth_of_their_file_system_and_the_last_one_stays_whatever_it_takes(
    rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [aged(killed_in(rings, 5000, f"node-{n}-{n}"), 100 - n) for n in range(4)]

    class Room:
        f_frsize, f_blocks, f_bavail = 1, 8 * (2 * allocated(paths[0]) + 2**16), 2**40

    monkeypatch.setattr(os, "statvfs", lambda path: Room)
    ring_sweep.sweep(rings)
    assert set(rings.iterdir()) == set(paths[2:])
    Room.f_blocks = 8
    ring_sweep.sweep(rings)
    assert set(rings.iterdir()) == {paths[3]}


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "ext4", ""])
def test_of_another_machine_only_a_ring_whose_lock_would_be_seen_is_swept(
    kind: str, rings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory that machines share, a lock may be kept by each for itself."""
    monkeypatch.setattr(ring_sweep, "KEEP_DEAD_FILES", 0)
    monkeypatch.setattr(_os_compat, "file_system", lambda fd: kind)
    other = create_in(rings)  # says that its host is node-07
    mine = ring_files.create(
        CONSTANTS.replace(b"node-07", _os_compat.host_name().encode()), 2**16, str(rings), "mine-2-2"
    )
    let_go(mine)
    old = aged(create_in(rings, "node-3-3"), 8 * DAY_S)
    assert set(ring_sweep.clean(rings, dry_run=True)) == {
        Path(str(mine.path)),
        old,
        *([other] if kind == "ext4" else []),
    }
    ring_sweep.sweep(rings)
    assert list(rings.iterdir()) == ([] if kind == "ext4" else [other])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_sixteen_ranks_that_start_at_once_leave_the_room_that_one_would(tmp_path: Path) -> None:
    """In shared memory a ring must find eight times its size free, whoever comes at the same moment."""
    size = 2**20

    def work(acknowledged: memoryview) -> None:
        acknowledged[0] = 1
        while acknowledged[1] == 0:
            time.sleep(0.001)
        file = ring_files.create(CONSTANTS, size, None, f"node-{os.getpid()}-1")
        acknowledged[2] = 1
        while acknowledged[3] == 0:
            time.sleep(0.001)
        let_go(file)

    first, second = tmp_path / "first", tmp_path / "second"
    with mounted("tmpfs", tmp_path) as shared, pytest.MonkeyPatch.context() as patch:
        first = shared / "rings"
        patch.setattr(ring_directories, "places", lambda directory=None: [str(first), str(second)])
        patch.delenv("PHASESCOPE_DIR")
        ranks = [forked(work) for _ in range(16)]
        for slot, value in ((0, 1), (2, 1)):
            for rank in ranks:
                rank.wait_for(value, slot)
            for rank in ranks:
                rank.acknowledged[slot + 1] = 1
        for rank in ranks:
            rank.join()
        there = len(list(first.iterdir()))
        assert there + len(list(second.iterdir())) == 16
        assert there == 8, "16 MiB, of which 8 stay free"


def test_a_session_sweeps_when_it_starts(rings: Path) -> None:
    old = aged(create_in(rings), 8 * DAY_S)
    with phasescope.start(directory=rings, capacity_bytes=ring.MIN_CAPACITY_BYTES):
        assert not old.exists()


def test_clean_removes_all_that_are_over_and_says_which(rings: Path) -> None:
    dead = [create_in(rings, f"node-{n}-{n}") for n in range(3)]
    (rings / "notes.txt").touch()
    file = new_file(rings, name="node-9-9")
    assert set(ring_sweep.clean(rings, dry_run=True)) == set(dead)
    assert all(path.exists() for path in dead)
    assert set(ring_sweep.clean(rings)) == set(dead)
    assert set(rings.iterdir()) == {Path(file.path or ""), rings / "notes.txt"}
    let_go(file)


def descriptors_of(path: Path) -> int:
    """How many of this process's descriptors are that file's."""
    status, count = path.stat(), 0
    for number in Path("/dev/fd").iterdir():
        try:
            count += os.path.samestat(os.fstat(int(number.name)), status)
        except OSError:  # that of the listing itself
            continue
    return count


def test_a_mapping_holds_no_descriptor_that_could_be_anothers_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    with path.open("w+b") as file:
        file.truncate(3 * ring.MIN_CAPACITY_BYTES)
        mapping = _os_compat.map_memory(file.fileno(), 3 * ring.MIN_CAPACITY_BYTES)
        assert descriptors_of(path) == 1
    mapping[-5:] = b"there"
    mapping.close()
    assert path.read_bytes().endswith(b"\0there")


def test_a_file_that_cannot_be_mapped_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    path.write_bytes(bytes(ring.MIN_CAPACITY_BYTES))
    with path.open("rb") as file, pytest.raises(OSError, match="ermission denied"):
        _os_compat.map_memory(file.fileno(), ring.MIN_CAPACITY_BYTES)


def test_a_file_out_of_the_way_has_a_number_that_open_does_not_give(tmp_path: Path) -> None:
    low = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(low, b"there")
    high = _os_compat.out_of_the_way(low)
    try:
        assert high >= 130
        assert not os.get_inheritable(high)
        assert os.pread(high, 9, 0) == b"there"
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(low)
    finally:
        os.close(high)


def test_where_there_is_no_higher_number_a_file_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_os_compat, "_OUT_OF_THE_WAY", (2**30,))
    low = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    assert _os_compat.out_of_the_way(low) == low
    os.close(low)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there are no memory files here")
def test_a_memory_file_never_gets_the_number_of_one_that_a_daemon_closed() -> None:
    first = _os_compat.memory_file(100)
    os.close(first)
    second = _os_compat.memory_file(100)
    os.close(second)
    assert second > first
