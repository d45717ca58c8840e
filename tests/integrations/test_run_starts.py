"""`phasescope run` starts the script whatever happens to phasescope: one line says so, and the exit code is its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and signals as Linux has them")

SCRIPT = "import os, sys\nprint('ran', [os.fsencode(each) for each in sys.argv[1:]])\nsys.exit(3)\n"
KIB, MIB = 1 << 10, 1 << 20
RING = 16 * MIB


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def under_run(
    *command: str | bytes | Path, environment: dict[str, str] | None = None, before: Callable[[], object] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "phasescope", "run", "--no-summary", *command],
        capture_output=True,
        timeout=CEILING_S,
        check=False,
        env={**os.environ, **(environment or {})},
        preexec_fn=before,
    )


def limited(name: str, most: int) -> Callable[[], None]:
    def limit() -> None:
        import resource

        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))

    return limit


def assert_ran(done: subprocess.CompletedProcess[bytes], complaint: bytes) -> None:
    assert (done.returncode, done.stdout) == (3, b"ran [b'own']\n"), done.stderr
    lines = done.stderr.splitlines()
    assert len([line for line in lines if line.startswith(b"phasescope: ")]) == 1, done.stderr
    assert complaint in done.stderr
    assert b"Traceback" not in done.stderr


def address_space_of_run() -> int:
    """Return the bytes that the interpreter takes with what `phasescope run` imports first."""
    code = (
        "import phasescope.cli.run\nprint(*(line.split()[1] for line in open('/proc/self/status') if 'VmPeak' in line))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=CEILING_S)
    return int(done.stdout) * KIB


def test_without_room_for_the_ring(script: Path) -> None:
    for_the_rest = RING  # less of it is left once a session's modules are imported
    done = under_run(script, "own", before=limited("AS", address_space_of_run() + for_the_rest))
    assert_ran(done, b"Cannot allocate memory")


def test_without_descriptors_for_the_integrations(script: Path) -> None:
    for_the_ring = 9  # Python 3.14 needs one more for it than the others
    done = under_run(script, "own", before=limited("NOFILE", for_the_ring))
    assert_ran(done, b"phasescope: only the script's own phases are recorded")


@pytest.mark.parametrize("missing", ["msgspec", "psutil"])
def test_without_a_module_that_it_needs(script: Path, tmp_path: Path, missing: str) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / f"{missing}.py").write_text("raise ImportError('built for another Python')\n")
    done = under_run(script, "own", environment={"PYTHONPATH": str(tmp_path / "broken")})
    assert (done.returncode, done.stdout) == (3, b"ran [b'own']\n"), done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("filters", ["default", "error", "ignore"])
def test_where_the_directory_is_wrong_and_whatever_the_filters_of_warnings(script: Path, filters: str) -> None:
    done = under_run(script, "own", environment={"PHASESCOPE_DIR": "/proc/nowhere", "PYTHONWARNINGS": filters})
    assert_ran(done, b"phasescope: no ring file, so other processes cannot look in: /proc/nowhere cannot be created")


def test_names_and_arguments_that_are_no_utf_8(tmp_path: Path) -> None:
    script = os.fsencode(tmp_path) + b"/scr\xffpt.py"
    Path(os.fsdecode(script)).write_text(SCRIPT)
    done = under_run(script, b"\xfe")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"ran [b'\\xfe']\n", b"")


def test_with_all_three_standard_streams_closed(script: Path, tmp_path: Path) -> None:
    script.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nraise SystemExit(3)\n")
    command = f'exec "{sys.executable}" -m phasescope run "{script}" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", command], check=False, timeout=CEILING_S).returncode == 3
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("ignored", [False, True], ids=["as a shell starts it", "in the background, as with nohup"])
def test_ctrl_c_does_what_it_does_to_python_alone(tmp_path: Path, ignored: bool) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('went on')\n")
    handler = signal.SIG_IGN if ignored else signal.SIG_DFL
    alone, run = (
        subprocess.run(
            [sys.executable, *command, script],
            capture_output=True,
            check=False,
            timeout=CEILING_S,
            preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
        )
        for command in ([], ["-m", "phasescope", "run", "--no-summary"])
    )
    assert (run.returncode, run.stdout, run.stderr) == (alone.returncode, alone.stdout, alone.stderr)
    assert (alone.returncode == 0) is ignored
