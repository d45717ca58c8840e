"""What a notebook shows, and its cell magic, in a real IPython shell."""

from __future__ import annotations

import importlib.util
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import phase
from phasescope.analysis.diagnosis.verdict import verdict
from phasescope.analysis.summary.summary import summarize
from phasescope.analysis.text.summary_html import summary_html
from support.commands import needs_files
from support.events import MIB, MS, MadeSession
from support.fakes.made_rings import grows, made_ring
from support.fakes.processes import in_new_python, new_python

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<img src=x onerror=alert(1)>\"'&\x1b[2J"


class Shown(HTMLParser):
    """The elements of a piece of HTML, and the text of its table cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.cells: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def test_a_summary_shows_the_cells_of_its_text() -> None:
    made = MadeSession()
    epoch = made.enter("epoch")
    made.allocated = 300 * MIB
    made.now_ns += 5 * MS
    made.enter("epoch", "forward", parent=epoch).exit()
    epoch.exit()
    summary = summarize(made.events)
    shown = Shown(summary._repr_html_())
    assert [cell for cell in shown.cells if cell.strip("\u00a0") in ("epoch", "forward")] == [
        "epoch",
        "\u00a0\u00a0\u00a0\u00a0forward",
    ]
    for figure in ("5.00 ms", "300 MiB", "cuda:0"):
        assert any(figure in cell for cell in shown.cells), figure
        assert figure in str(summary)


def test_nothing_in_a_name_is_obeyed() -> None:
    made = MadeSession(host=HOSTILE, session_id=HOSTILE)
    made.run(HOSTILE, status="error", error_type=HOSTILE)
    made.enter(HOSTILE)
    shown = Shown(summary_html(summarize(made.events), [HOSTILE]))
    assert shown.elements <= {"div", "p", "b", "br", "table", "thead", "tbody", "tr", "th", "td"}
    assert shown.attributes <= {"class", "style"}
    assert any("<img" in cell for cell in shown.cells), "it is shown all the same"
    assert not any("\x1b" in cell for cell in shown.cells)


def test_a_summary_without_phases_and_without_events_is_shown() -> None:
    assert "no phases yet" in summarize([])._repr_html_()


def test_many_rows_are_cut_off_and_counted() -> None:
    made = MadeSession()
    for number in range(250):
        made.run(f"phase {number}")
    html = summarize(made.events)._repr_html_()
    assert "phase 199<" in html
    assert "phase 200<" not in html
    assert "and 50 more rows" in html


def test_a_session_and_a_reader_show_how_they_stand() -> None:
    with phasescope.start(backends=["cpu"]) as session, phase("forward"):
        running = session._repr_html_()
        with session.reader() as reader:
            assert "running" in (reader._repr_html_() or "")
        assert reader._repr_html_() is None, "a closed reader has its plain text"
    assert running is not None
    assert re.search(r"<b>[^<]*: running</b>", running)
    assert "forward" in running
    ended = session._repr_html_()
    assert ended is not None
    assert re.search(r"<b>[^<]*: finished</b>", ended)
    assert "nothing went wrong; whether memory grows is not known" in ended


@needs_files
def test_a_reader_shows_the_verdict_the_memory_over_time_and_the_ending(rings: Path) -> None:
    with made_ring(rings, command=["python", "-u", "/home/me/train.py"]) as ring:
        grows(ring, 104)
        ring.stop("the interpreter exited after KeyError")
        with phasescope.attach(ring.path) as reader:
            html, text = reader._repr_html_() or "", verdict(reader.explain()).text
    assert "<b>train.py: ended by an exception: KeyError</b>" in html
    assert text in html
    (points,) = re.findall(r'<polyline points="([^"]+)"', html)
    corners = [tuple(map(float, corner.split(","))) for corner in points.split()]
    assert len(corners) > 50
    assert corners == sorted(corners, key=lambda corner: corner[0]), "time goes to the right"
    assert [height for _, height in corners] == sorted((height for _, height in corners), reverse=True), "it rises"
    assert "cuda:0, allocated, over 1.73 min; peak 1.10 GiB in step" in html


@needs_files
def test_nothing_in_a_session_is_obeyed(rings: Path) -> None:
    with made_ring(rings, command=[f"{HOSTILE}.py"], host=HOSTILE) as ring:
        ring.run([HOSTILE], 5)
        ring.run([HOSTILE], 5)
        with phasescope.attach(ring.path) as reader:
            shown = Shown(reader._repr_html_() or "")
    assert "svg" in shown.elements
    tables = {"div", "p", "b", "br", "table", "thead", "tbody", "tr", "th", "td"}
    assert shown.elements <= tables | {"svg", "polyline"}
    assert not any(name.startswith("on") for name in shown.attributes)


IN_A_SHELL = """
import json, phasescope
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

shell = InteractiveShell.instance()
told = []

def cell(text):
    with capture_output() as shown:
        result = shell.run_cell(text)
    error = result.error_before_exec or result.error_in_exec
    told.append([result.result, type(error).__name__, shown.stdout.count("Traceback"), shown.stdout + shown.stderr])

cell("%load_ext phasescope.integrations.notebook")
cell("%%phase before\\nx = 1\\nx + 1")
session = phasescope.start(backends=["cpu"])
cell("%%phase forward pass\\ny = x + 2\\ny * 10")
cell("%%phase quiet\\ny;")
cell("%%phase statements\\nfor z in range(3):\\n    pass")
cell("%%phase fails\\nx = 5\\nraise ValueError('mine')")
cell("%%phase broken\\nx =")
cell("%%phase\\nx")
cell("%%phase magics\\n%time 3")
shell.user_ns["session"] = session
html = shell.display_formatter.format(session)[0]["text/html"]
exits = [e["metadata"]["phase_scope"] for e in session.events() if e["event_type"] == "phase_exit"]
session.stop()
cell("%unload_ext phasescope.integrations.notebook")
names = {name: shell.user_ns.get(name) for name in "xyz"}
print(json.dumps([told, [[e["name"], e["status"], e.get("error_type")] for e in exits], names, html, "phase" in
    shell.magics_manager.magics["cell"]]))
"""


@pytest.mark.skipif(importlib.util.find_spec("IPython") is None, reason="needs IPython")
def test_a_cell_is_a_phase_and_goes_on_as_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    told, exits, names, html, still_there = json.loads(in_new_python(IN_A_SHELL).splitlines()[-1])
    _, before, forward, quiet, statements, fails, broken, unnamed, magics, _ = told
    assert before[:3] == [2, "NoneType", 0]
    assert forward[:3] == [30, "NoneType", 0]
    assert forward[3].count("30") == 1
    assert "3" not in quiet[3]
    assert statements[:3] == [None, "NoneType", 0]
    assert fails[:3] == [None, "ValueError", 1]
    assert "raise ValueError('mine')" in re.sub(r"\x1b\[[0-9;]*m", "", fails[3]), "the traceback shows the cell's line"
    assert broken[1] == "SyntaxError"
    assert unnamed[1] == "UsageError"
    assert "%%phase needs a name" in unnamed[3]
    assert magics[1] == "NoneType"
    assert exits == [
        ["forward pass", "ok", None],
        ["quiet", "ok", None],
        ["statements", "ok", None],
        ["fails", "error", "ValueError"],
        ["magics", "ok", None],
    ]
    assert names == {"x": 5, "y": 3, "z": 2}
    assert "<table>" in html
    assert not still_there


def test_without_ipython_the_answer_is_the_pip_line() -> None:
    done = new_python("import sys\nsys.modules['IPython'] = None\nimport phasescope.integrations.notebook")
    assert done.stderr.strip().endswith("phasescope.integrations.notebook needs IPython: pip install ipython")
