"""The verdict of a real process: the same line at the end of `run`, in `summary` and in `report`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from phasescope.views.page.html_page import embedded_json
from support.commands import printed, python

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

LOOP = """
import time
from phasescope import phase

for number in range(60):
    with phase("step"):
        time.sleep(0.02)
        if number == {failing}:
            raise ValueError("no such label")
"""


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return python(folder, "-W", "ignore", "-m", "phasescope", "run", "train.py")


@pytest.mark.parametrize(
    ("failing", "exit_code", "verdict"),
    [
        (-1, 0, "healthy: memory does not grow"),
        (57, 1, "ended by an exception: ValueError: no such label, in step (see explain)"),
        (9, 1, "ended by an exception: ValueError: no such label, in step (see explain)"),
    ],
)
def test_run_summary_and_report_begin_with_the_same_line(
    failing: int, exit_code: int, verdict: str, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(LOOP.format(failing=failing))
    ran = run(tmp_path)
    assert ran.returncode == exit_code
    assert ran.stderr.partition("again with: phasescope summary")[2].splitlines()[1] == verdict
    told = json.loads(printed("summary", "--json")[1])
    assert told["verdict"]["text"] == verdict
    assert told["verdict"]["is_good"] is (exit_code == 0)
    assert verdict in printed("summary")[1].splitlines()[:3]
    pytest.importorskip("plotly")
    page = tmp_path / "page.html"
    assert printed("report", "-o", str(page))[0] == 0
    assert f'"verdict":{embedded_json(told["verdict"])}' in page.read_text(encoding="utf-8")


def test_of_ten_steps_every_line_says_ten(tmp_path: Path) -> None:
    """Whether or not a sample came after them."""
    (tmp_path / "train.py").write_text(LOOP.replace("range(60)", "range(10)").format(failing=-1))
    run(tmp_path)
    why = "too few steps to tell (step ended 10 times, and 104 are needed); train for longer"
    answer = json.loads(printed("explain", "--json")[1])
    assert why in answer["cause"]["text"]
    assert f"whether it grows: {why}" in answer["unknown"]
    told = json.loads(printed("summary", "--json")[1])
    assert told["verdict"]["text"].endswith(why)
    assert [row["count"] for row in told["phases"]] == [10]
