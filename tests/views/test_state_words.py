"""How a session is doing or ended is said in the same word in each list, table, heading and page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from phasescope import cli
from phasescope.analysis.jobs.imbalance import ranks as compared
from phasescope.views.catalogue import Catalogue
from phasescope.views.job_loader import members
from phasescope.views.live_session import Followed
from phasescope.views.page import page_data
from phasescope.views.top import panels
from phasescope.views.top.frame import frame_of
from phasescope.views.top.header import head
from phasescope.views.top.session_list import SessionWatch
from phasescope.views.web.hub import Hub
from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="sessions lie in files only where they can be locked")

SCRIPT = """
import os, signal, sys
import phasescope

phasescope.start(backends=["cpu"], job_id="one", rank=int(sys.argv[2]), world_size=2, interval_ms=10)
with phasescope.phase("step"):
    way = sys.argv[1]
    if way == "failed":
        raise ValueError("no data")
    if way == "out of memory":
        raise MemoryError
    if way == "interrupted":
        raise KeyboardInterrupt
    if way == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "running":
        print("ready", flush=True)
        sys.stdin.read()
"""
WAYS = ("running", "finished", "failed", "interrupted", "killed", "out of memory")
"""What a rank of two does; the other one finishes."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    way: str = request.param
    environment = {**os.environ, "PHASESCOPE_DIR": str(tmp_path)}
    processes = []
    for rank, does in enumerate((way, "finished")):
        command = [sys.executable, "-c", SCRIPT, does, str(rank)]
        options: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        processes.append(subprocess.Popen(command, env=environment, **options))
        if does == "running":
            stdout = processes[-1].stdout
            assert stdout is not None
            assert stdout.readline() == b"ready\n"
        else:
            processes[-1].wait(CEILING_S)
    yield way
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=CEILING_S)


def test_each_surface_has_the_same_word(way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = {way, "finished"}
    for command in (["ls"], ["ranks"], ["summary"], ["clean", "--dry-run"]):
        assert cli.main([*command, "--dir", str(tmp_path)]) == 0
        shown = capsys.readouterr().out
        over = words - {"running"} if command[0] == "clean" else words
        assert {word for word in WAYS if f"  {word}  " in shown} == over, shown

    catalogue = Catalogue([tmp_path])
    (job,) = catalogue.jobs()
    page = page_data.job_data(compared(members(catalogue, job)))
    assert [rank["ending"]["word"] for rank in page["ranks"]] == [way, "finished"]
    hub = Hub(catalogue)
    assert list(hub.words(job).values()) == [way, "finished"]
    reader = catalogue.open(job[0].key)
    assert reader is not None
    followed = Followed(reader)
    followed.catch_up()
    assert page_data.snapshot(followed)["ending"]["word"] == way
    followed.close()


def test_so_has_the_list_of_top(way: str, tmp_path: Path) -> None:
    watch = SessionWatch(Catalogue([tmp_path]))
    watch.look()
    until(lambda: not watch.poll(0.1))
    (line,) = panels.session_list(watch, 80, 3)
    sign, role = panels.state_sign({"running": "running", "finished": "finished"}.get(way, "exception"))
    assert f"{sign} " in line.text
    assert f"  {way} " in line.text
    assert any(part[1] == role for part in line.parts if way in part[0])
    chosen = watch.chosen
    assert chosen is not None
    watch.choose(next(entry.key for entry in watch.job if entry.constants["rank"] == 0))
    until(lambda: not watch.poll(0.1))
    assert watch.chosen is not None
    assert f"{sign} {way} " in head(frame_of(watch.chosen), 120).text
    watch.close()


def test_a_session_that_is_not_looked_at_yet_is_not_called_anything(tmp_path: Path) -> None:
    environment = {**os.environ, "PHASESCOPE_DIR": str(tmp_path)}
    for way in ("out of memory", "finished"):
        script = SCRIPT.replace("world_size=2", "world_size=1").replace('job_id="one", ', "")
        subprocess.run(
            [sys.executable, "-c", script, way, "0"], env=environment, stderr=subprocess.DEVNULL, check=False
        )
    watch = SessionWatch(Catalogue([tmp_path]))
    watch.look()
    until(lambda: not watch.poll(0.1))

    def lines() -> list[str]:
        return [line.text for line in panels.session_list(watch, 80, 3)]

    newest, older = lines()
    assert "finished" in newest
    assert "  ?" in older
    watch.glance(panels.shown_keys(watch, 3))
    assert "✗ " in lines()[1]
    assert "  out of memory  " in lines()[1]
    watch.close()


def test_the_columns_of_the_list_take_no_more_than_what_is_in_them(tmp_path: Path) -> None:
    environment = {**os.environ, "PHASESCOPE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", SCRIPT, "finished", "0"], env=environment, check=True)
    watch = SessionWatch(Catalogue([tmp_path]))
    watch.look()
    until(lambda: not watch.poll(0.1))
    for width in (60, 80, 200):
        (line,) = panels.session_list(watch, width, 3)
        assert line.width <= width
        assert "-c" in line.text, "the command is seen at any width"
    watch.close()
