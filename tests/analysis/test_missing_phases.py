"""What is said of phases that are missing: which and why, what line to add, and nothing where none need be there."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope.analysis.missing_phases import missing_phases
from phasescope.analysis.summary.summary import summarize
from phasescope.views.live_session import Followed
from phasescope.views.page.page_data import phases as of_page
from support.events import MadeSession
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from pathlib import Path

RUN = {"session_id": "abc", "command": ["/usr/bin/python", "-m", "phasescope", "run", "train.py"]}
ALONE = {"session_id": "abc", "command": ["/usr/bin/python", "train.py"]}


def said(*names: str, of: dict[str, Any] = RUN, is_over: bool = True, **more: Any) -> str:
    session = MadeSession()
    for path in names:
        session.run(*path.split("/"))
    return "\n".join(missing_phases(summarize(session.events).rows, is_over=is_over, constants=of, **more))


def test_a_whole_loop_an_inference_and_phases_of_the_scripts_own_lack_nothing() -> None:
    loop = ("epoch", "epoch/step", "epoch/step/data", "epoch/step/forward (Net)", "epoch/step/backward")
    assert said(*loop, "epoch/step/optimizer") == ""
    assert said("evaluate", "evaluate/data", "evaluate/forward") == ""
    assert said("forward") == ""
    assert said("step") == said("step", "step/data") == "", "the line for JAX was added"
    assert said("step", "step/data", "step/call (train_step)") == "", "a compiled function may be all of it"
    assert said("load", "backward") == ""
    assert said("data", of=ALONE) == "", "who marks by hand marks what he wants"


@pytest.mark.parametrize(
    ("names", "lacks", "line"),
    [
        (["data"], "no forward: batches were fetched, but no model", 'phase("forward")'),
        (["step", "step/backward", "step/optimizer"], "no forward: no model of torch or Keras", 'phase("forward")'),
        (["step", "step/forward", "step/optimizer"], "no backward: the gradients come from", 'phase("backward")'),
        (["step", "step/forward", "step/backward"], "no optimizer: nothing stepped", 'phase("optimizer")'),
    ],
)
def test_what_a_loop_lacks_is_named_with_its_line(names: list[str], lacks: str, line: str) -> None:
    text = said(*names)
    assert text.startswith(lacks)
    assert line in text
    assert said(*names, is_over=False) == "", "it may still come"
    assert said(*names, missed=3) == "", "it may have been overwritten"


def test_without_any_phase_it_says_why() -> None:
    assert said(is_over=False) == "no phases yet"
    assert "`run` saw no model, gradient or optimizer of torch or TensorFlow" in said()
    assert "jax.block_until_ready(" in said()
    assert "jax.block_until_ready(" in said("data")
    assert 'phasescope.phase("step")' in said()
    assert "jax.block_until_ready(" in said()
    assert "jax.block_until_ready(" in said("data"), "its loader may be torch's"
    assert "start it by `phasescope run`" in said(of=ALONE)
    assert said(ended_well=False) == "no phases: none had begun when it ended"
    assert said(missed=5) == "no phases in the events that are left"
    assert "it started others that have sessions of their own (2 sessions)" in said(children=2)
    without = {**RUN, "command": [*RUN["command"][:4], "--no-instrument", "train.py"]}
    assert "--no-instrument leaves out" in said(of=without)
    assert "`run` saw no" in said(of={"command": ["/bin/python", "/bin/phasescope", "run", "x.py"]})


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script)
    command = ["-m", "phasescope", "run", "--dir", str(folder / "rings"), str(folder / "script.py")]
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=CEILING_S, check=False)


def everywhere(folder: Path) -> tuple[str, str]:
    """What `summary` says of the one session, and what the page does."""
    (ring,) = (path for path in (folder / "rings").glob("*.ring") if not _is_child(path))
    command = ["-m", "phasescope", "summary", str(ring)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=CEILING_S, check=True)
    followed = Followed(phasescope.attach(ring))
    followed.catch_up()
    page = "\n".join(of_page(followed)["missing"])
    followed.close()
    return done.stdout, page


def _is_child(path: Path) -> bool:
    with phasescope.attach(path) as reader:
        return reader.constants["job_id"] is not None


def test_a_run_without_torch_says_so_at_its_end_and_afterwards_on_every_surface(tmp_path: Path) -> None:
    done = run(tmp_path, "print('trained')")
    shown, page = everywhere(tmp_path)
    for text in (done.stderr, shown, page):
        assert "no phases: `run` saw no model" in text
        assert "no phases yet" not in text


def test_a_run_that_fails_before_any_phase_is_given_no_advice(tmp_path: Path) -> None:
    done = run(tmp_path, "import no_such_module")
    shown, page = everywhere(tmp_path)
    for text in (done.stderr, shown, page):
        assert "no phases: none had begun when it ended" in text


def test_a_run_whose_child_trained_leads_there(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "import multiprocessing\n"
        "from phasescope import phase\n"
        "def child():\n"
        "    with phase('mine'): pass\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=child)\n"
        "    process.start()\n"
        "    process.join()\n",
    )
    shown, page = everywhere(tmp_path)
    for text in (done.stderr, shown, page):
        assert "no phases in this process: it started another that has a session of its own" in text
