"""No ring file to be had, in real processes: one clear warning, a session in memory, and the training unharmed."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import _os_compat
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(not _os_compat.CAN_SHARE_FILES, reason="here rings lie in memory only")

STEPS = 300
TRAINING = """
    import hashlib, json, warnings

    def train(phase):
        state = b"seed"
        for n in range({steps}):
            with phase("step", n=n):
                with phase("hash"):
                    state = hashlib.sha256(state).digest()
        return state.hex()

    {before}
    import phasescope

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        session = phasescope.start({options})
        {meanwhile}
        result = train(phasescope.phase)
        phasescope.validate_event(session.latest())
        session.stop()
    scopes = [event["metadata"]["phase_scope"] for event in session.events() if event["event_type"] == "phase_exit"]
    print(json.dumps({{
        "said": [[warning.category.__name__, str(warning.message), warning.filename] for warning in said],
        "path": session.path,
        "steps": [scope["attributes"]["n"] for scope in scopes if scope["name"] == "step"],
        "bad": [session.dropped, session.irregular, session.degraded],
        "result": result,
    }}))
"""


def run(before: str = "", meanwhile: str = "", options: str = "", **environment: str) -> dict[str, Any]:
    """What a training tells of itself. It must end well and say nothing else."""
    code = TRAINING.format(steps=STEPS, before=before, meanwhile=meanwhile, options=options)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def result() -> str:
    """What the training gives without the profiler."""
    import hashlib

    state = b"seed"
    for _ in range(STEPS):
        state = hashlib.sha256(state).digest()
    return state.hex()


def check_in_memory(told: dict[str, Any], result: str, why: str) -> None:
    assert [category for category, *_ in told["said"]] == ["PhasescopeWarning"], "one warning, and no other"
    ((_, text, file),) = told["said"]
    assert text.startswith("no ring file, so other processes cannot look in: ")
    assert why in text
    assert file == "<string>", "it points at the line that calls start()"
    assert told["path"] is None
    assert told["steps"] == list(range(STEPS))
    assert told["bad"] == [0, 0, 0]
    assert told["result"] == result


def check_in_file(told: dict[str, Any], result: str, directory: Path) -> None:
    assert told["said"] == []
    assert Path(told["path"]).parent == directory
    assert told["steps"] == list(range(STEPS))
    assert told["bad"] == [0, 0, 0]
    assert told["result"] == result
    with phasescope.attach(told["path"]) as reader:
        assert reader.events()[-1]["event_type"] == "stop"
        assert (reader.state, reader.missed, reader.damaged) == ("stopped", 0, 0)


def test_with_room_there_is_a_file_and_no_warning(result: str, rings: Path) -> None:
    """The other tests can fail."""
    check_in_file(run(PHASESCOPE_DIR=str(rings)), result, rings)


# Directories that are refused


def _own_folder_open_to_others(path: Path) -> None:
    path.mkdir()
    path.chmod(0o755)
    (path / f"phasescope-{os.getuid()}").mkdir()
    (path / f"phasescope-{os.getuid()}").chmod(0o770)


def _somebody_elses(path: Path) -> None:
    path.mkdir(mode=0o700)
    os.chown(path, 65534, 65534)


def _a_link(path: Path) -> None:
    (path.parent / "target").mkdir(mode=0o700)
    path.symlink_to(path.parent / "target")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (
            _own_folder_open_to_others,
            f"/phasescope-{_os_compat.user_id()} is open to others (mode 0770); run: chmod 700 ",
        ),
        pytest.param(
            _somebody_elses,
            " belongs to user 65534; name another directory (PHASESCOPE_DIR, or start(directory=...))",
            marks=pytest.mark.skipif(_os_compat.user_id() != 0, reason="only root can give a directory away"),
        ),
        (_a_link, " is a symbolic link; name the directory itself, or remove the link"),
        (Path.touch, " is not a directory; name another directory"),
    ],
)
def test_a_directory_that_is_refused(make: Callable[[Path], None], why: str, result: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    make(place)
    before = sorted(tmp_path.rglob("*"))
    check_in_memory(run(PHASESCOPE_DIR=str(place)), result, f"{place}{why}")
    assert sorted(tmp_path.rglob("*")) == before, "nothing was made, nothing removed"


@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_a_directory_made_by_a_plain_mkdir_will_do(mode: int, result: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(mode)
    told = run(PHASESCOPE_DIR=str(place))
    check_in_file(told, result, place / f"phasescope-{os.getuid()}")
    for target in (None, Path(told["path"]).name.split("-")[-2]):
        with phasescope.attach(target, directory=place) as reader:
            assert str(reader.path) == told["path"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a place where not even root may write")
def test_a_place_where_nobody_may_write(result: str) -> None:
    check_in_memory(run(PHASESCOPE_DIR="/proc/self/rings"), result, "/proc/self/rings cannot be created: ")


# Nothing that surrounds a training makes start() raise, and what never began leaves nothing

LITTLE_MEMORY = """
import phasescope, resource, warnings
session = phasescope.start(directory={warm!r})
session.latest()
session.stop()
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + {spare}, mapped + {spare}))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs to know what is mapped")
@pytest.mark.parametrize("spare", [2**20, 2**22])
def test_without_address_space_for_the_ring_it_is_a_smaller_one(spare: int, result: str, tmp_path: Path) -> None:
    before = LITTLE_MEMORY.format(warm=str(tmp_path / "warm"), spare=spare).replace("\n", "; ").strip("; ")
    told = run(before, PHASESCOPE_DIR=str(tmp_path / "place"))
    assert told["result"] == result
    assert told["steps"][-1] == STEPS - 1
    assert told["bad"][0] == 0


@pytest.mark.parametrize("arguments", [[], ["x\udcff"]])
def test_an_argument_of_any_bytes_is_recorded(arguments: list[str], tmp_path: Path) -> None:
    code = f"import phasescope; phasescope.start(record={str(tmp_path / 'run.jsonl')!r}).stop()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(os.fsencode, arguments)], capture_output=True, timeout=CEILING_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    for target in (None, tmp_path / "run.jsonl"):
        with phasescope.attach(target) as reader:
            assert reader.events()[-1]["event_type"] == "stop"
            assert reader.constants["command"][3:] in ([], ["x\\udcff"]), "a recording does not keep it"


def test_a_start_that_fails_leaves_no_ring(rings: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        phasescope.start(directory=rings, record=tmp_path / "missing" / "run.jsonl")
    assert list(rings.iterdir()) == []
    assert phasescope.current() is None


# No room

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_{}, ({}, {}))"


def test_a_limit_on_the_size_of_files(result: str, rings: Path) -> None:
    told = run(LIMIT.format("FSIZE", 2**20, 2**20), PHASESCOPE_DIR=str(rings))
    check_in_memory(told, result, f"in {rings}: File too large; raise the limit (ulimit -f), set a smaller")
    assert list(rings.iterdir()) == []


def test_a_limit_on_the_size_of_files_whose_signal_is_not_ignored(result: str, rings: Path) -> None:
    """Python ignores it, and a training may have changed that."""
    before = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); " + LIMIT.format("FSIZE", 2**20, 2**20)
    check_in_memory(run(before, PHASESCOPE_DIR=str(rings)), result, "File too large; raise the limit (ulimit -f)")
    meanwhile = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); " + LIMIT.format("FSIZE", 1, 1)
    check_in_file(run(meanwhile=meanwhile, PHASESCOPE_DIR=str(rings)), result, rings)


def test_a_ring_that_is_smaller_than_the_limit_is_a_file(result: str, rings: Path) -> None:
    told = run(LIMIT.format("FSIZE", 2**20, 2**20), options=f"capacity_bytes={2**19}", PHASESCOPE_DIR=str(rings))
    check_in_file(told, result, rings)


def test_a_limit_that_is_set_while_it_runs_stops_no_event(result: str, rings: Path) -> None:
    """All its pages are there, so nothing grows."""
    told = run(meanwhile=LIMIT.format("FSIZE", 1, 1), PHASESCOPE_DIR=str(rings))
    check_in_file(told, result, rings)


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 4 MiB."""
    path = tmp_path / "tmpfs"
    path.mkdir()
    if not sys.platform.startswith("linux") or shutil.which("mount") is None:
        pytest.skip("no tmpfs here")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("not allowed to mount a tmpfs here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> None:
    """Until not one page is left."""
    with (path / "filling").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(2**12))
    assert os.statvfs(path).f_bavail == 0


def test_a_tmpfs_that_is_full(small_tmpfs: Path, result: str) -> None:
    place = small_tmpfs / "rings"
    place.mkdir(mode=0o700)
    fill(small_tmpfs)
    told = run(options=f"capacity_bytes={2**20}", PHASESCOPE_DIR=str(place))
    check_in_memory(told, result, "No space left on device; set a smaller capacity_bytes, or name another directory")
    assert list(place.iterdir()) == []


def test_a_tmpfs_that_is_too_small(small_tmpfs: Path, result: str) -> None:
    told = run(PHASESCOPE_DIR=str(small_tmpfs / "rings"))
    check_in_memory(told, result, f"in {small_tmpfs / 'rings'}: No space left on device; set a smaller capacity_bytes")
    assert os.statvfs(small_tmpfs).f_bavail >= 4 * 2**20 // 4096 - 4, "what was taken in vain is given back"


def test_a_tmpfs_that_fills_up_while_it_runs_stops_no_event_and_kills_nobody(small_tmpfs: Path, result: str) -> None:
    """A page that could not be had at a write would be SIGBUS."""
    (small_tmpfs / "fill.py").write_text("from __future__ import annotations\n" + inspect.getsource(fill))
    meanwhile = (
        f"import contextlib, os, pathlib; exec(pathlib.Path({str(small_tmpfs / 'fill.py')!r}).read_text()); "
        f"fill(pathlib.Path({str(small_tmpfs)!r})); [train(phasescope.phase) for _ in range(20)]"
    )
    told = run(
        meanwhile=meanwhile,
        options=f"capacity_bytes={2**20}, interval_ms=10",
        PHASESCOPE_DIR=str(small_tmpfs / "rings"),
    )
    assert told["said"] == []
    assert told["steps"][-STEPS:] == list(range(STEPS))
    assert (told["bad"], told["result"]) == ([0, 0, 0], result)
    with phasescope.attach(told["path"]) as reader:
        assert reader.written > 20 * STEPS * 4
        assert reader.events()[-1]["event_type"] == "stop"
        assert (reader.state, reader.damaged) == ("stopped", 0)
        assert reader.missed > 0, "it came round"


def test_a_shared_memory_that_is_too_small_is_passed_over_for_the_next_place(small_tmpfs: Path, result: str) -> None:
    """It has room for the ring, but the training's data loaders need it as well."""
    code = (
        "import os; from phasescope.wire import ring_directories; "
        "ring_directories.places = lambda directory=None: os.environ['T'].split()"
    )
    second = small_tmpfs.parent / "second"
    told = run(code, options=f"capacity_bytes={2**20}", T=f"{small_tmpfs / 'rings'} {second}")
    check_in_file(told, result, second)
    assert list((small_tmpfs / "rings").iterdir()) == []
