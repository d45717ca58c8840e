"""Requests beside a ring: one asker at a time, nothing left behind, and nothing answered that is no request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phasescope import _os_compat
from phasescope.wire import requests, ring_sweep
from phasescope.wire.requests import Request, take
from support.commands import needs_files
from support.waiting import CEILING_S, until

pytestmark = needs_files


@pytest.fixture
def ring(tmp_path: Path) -> str:
    directory = tmp_path / "rings"
    directory.mkdir(mode=0o700)
    return str(directory / "host-1-2.ring")


def put(ring: str) -> Request:
    request = Request.put(ring, {"what": "snapshot"}, -1)
    assert request is not None
    return request


def left(ring: str) -> list[str]:
    return [path.name for path in Path(ring).parent.iterdir()]


def test_an_answer_comes_back_and_no_file_is_left(ring: str) -> None:
    path = requests.path_beside(ring)
    assert not requests.is_there(path)
    request = put(ring)
    assert requests.is_there(path)
    assert (Path(path).stat().st_mode & 0o777, request.is_taken, request.answer()) == (0o600, False, None)
    taken = take(path)
    assert taken is not None
    assert taken.asked["what"] == "snapshot"
    assert (request.is_taken, request.answer(), left(ring)) == (True, None, [])
    taken.answer(b"x" * 3_000_000)
    assert request.answer() == b"x" * 3_000_000
    request.withdraw()
    assert left(ring) == []


def test_one_asker_at_a_time_and_a_killed_one_is_in_nobodys_way(ring: str) -> None:
    first = put(ring)
    assert Request.put(ring, {}, -1) is None
    assert len(left(ring)) == 1
    first.withdraw()
    code = (
        "from phasescope.wire.requests import Request\n"
        f"request = Request.put({ring!r}, {{}}, -1)\n"
        "print(1, flush=True)\n"
        "input()"
    )
    asker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert asker.stdout is not None
    assert asker.stdout.readline() == b"1\n"
    assert Request.put(ring, {}, -1) is None
    asker.kill()
    asker.wait(CEILING_S)
    asker.communicate()
    assert take(requests.path_beside(ring)) is None  # nobody waits for it
    assert left(ring) == []
    Path(requests.path_beside(ring)).touch(0o600)  # as one that was killed leaves it
    second = put(ring)
    second.withdraw()
    assert left(ring) == []


def test_whoever_no_longer_waits_is_not_answered(ring: str) -> None:
    request = put(ring)
    taken = take(requests.path_beside(ring))
    assert taken is not None
    assert taken.is_waited_for()
    request.withdraw()
    assert not taken.is_waited_for()
    taken.answer(b"{}")  # into a file that nobody has


def hostile(path: Path, kind: str) -> None:
    request = json.dumps({"version": 1}).encode().ljust(requests.REQUEST_BYTES, b"\0") + b"\0" * 16
    other = path.parent / "of-the-user"
    other.write_bytes(request)
    if kind == "symbolic link":
        path.symlink_to(other)
    elif kind == "hard link":
        os.link(other, path)
    elif kind == "directory":
        path.mkdir()
        (path / "x").touch()
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    else:
        content = {"open to others": request, "short": request[:50], "no JSON": b"{" * 4112, "version 2": request}[kind]
        path.write_bytes(content.replace(b'"version": 1', b'"version": 2') if kind == "version 2" else content)
        path.chmod(0o644 if kind == "open to others" else 0o600)


@pytest.mark.parametrize(
    "kind", ["symbolic link", "hard link", "directory", "pipe", "open to others", "short", "no JSON", "version 2"]
)
def test_what_is_no_request_is_neither_answered_nor_written_to(ring: str, kind: str) -> None:
    path = Path(requests.path_beside(ring))
    hostile(path, kind)
    before = (path.parent / "of-the-user").read_bytes()
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert kind in ("directory", "pipe") or _os_compat.lock(fd)  # as if somebody waited
    assert take(str(path)) is None
    os.close(fd)
    assert not requests.is_there(str(path))
    assert (path.parent / "of-the-user").read_bytes() == before


def test_a_descriptor_that_the_program_closed_and_used_again_is_not_written_to(ring: str, tmp_path: Path) -> None:
    request = put(ring)
    taken = take(requests.path_beside(ring))
    assert taken is not None
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    number = taken._fd
    os.dup2(other, number)
    taken.answer(b"{}")
    assert (tmp_path / "other").stat().st_size == 0
    os.close(number)  # it is open still: it was not ours to close
    os.close(other)
    request.withdraw()


def test_an_asker_of_another_process_gets_its_answer(ring: str) -> None:
    code = (
        "import sys, time\n"
        "from phasescope.wire.requests import Request\n"
        f"request = Request.put({ring!r}, {{'what': 'snapshot'}}, -1)\n"
        "while (answer := request.answer()) is None: time.sleep(0.01)\n"
        "print(answer.decode())"
    )
    asker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    until(lambda: requests.is_there(requests.path_beside(ring)), CEILING_S)
    taken = take(requests.path_beside(ring))
    assert taken is not None
    taken.answer(b"[1, 2]")
    out, _ = asker.communicate(timeout=CEILING_S)
    assert (out, asker.returncode) == ("[1, 2]\n", 0)


def test_what_an_asker_left_that_was_killed_as_it_asked_is_swept(ring: str) -> None:
    directory = Path(ring).parent
    names = ["host-1-2.ring.request", "host-1-2.ring.request.taken", "host-1-2.ring.request.77-0a1b2c3d.tmp"]
    for name in (*names, "host-1-2.ring.requested", "mine.request"):
        (directory / name).touch(0o600)
    ring_sweep.sweep(directory)
    assert len(left(ring)) == 5  # it may be about to be locked
    for path in directory.iterdir():
        os.utime(path, (0, 0))
    ring_sweep.sweep(directory)
    assert sorted(left(ring)) == ["host-1-2.ring.requested", "mine.request"]
