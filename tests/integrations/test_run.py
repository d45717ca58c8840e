"""`phasescope run`: a script cannot tell that it runs under it, and what it trains is marked."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope.cli import main
from programs.preloaded import CALM, end_all, preloaded
from support import commands
from support.scenarios import SCRIPTS, folded, made_of, phases_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
RUN = ["-m", "phasescope", "run"]
STEP = "step[data forward backward optimizer]"
MINE = "data mine[forward backward optimizer]"
OWN = " ".join([f"round[{MINE} {MINE} data] validation[forward]"] * 2)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A directory with the script, to be called by a name without a path."""
    folder = tmp_path / "work"
    (folder / "package").mkdir(parents=True)
    shutil.copy(SCRIPTS / "under_run.py", folder / "script.py")
    shutil.copy(SCRIPTS / "under_run.py", folder / "package" / "module.py")
    (folder / "bad.py").write_text("x = (\n")
    return folder


python = functools.partial(commands.python, OMP_NUM_THREADS="1", PYTHONHASHSEED="0")


@pytest.fixture(scope="module", autouse=True)
def no_process_stays() -> Iterator[None]:
    yield
    end_all()


def loaded(work: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the script under run in a fork of a process that has loaded torch: where it does not matter when it was."""
    *options, what = command
    process = preloaded(("torch", "torch._dynamo"))
    if not process.is_silent:
        return python(work, *RUN, *options, "script.py", what)
    environment = {**os.environ, **CALM}
    done = process.run([*RUN, *options], work / "script.py", [what.encode()], work, environment)
    return subprocess.CompletedProcess(command, done.exit, done.stdout.decode(), done.stderr.decode())


def without_summary(stderr: str) -> str:
    return re.sub(r"\nphasescope: pid \d+.*", "", stderr, flags=re.DOTALL)


def phases(work: Path) -> list[str]:
    """What the one session of the test's directory says."""
    (ring,) = (work.parent / "phasescope").glob("*.ring")
    with phasescope.attach(ring) as reader:
        return phases_in(reader.events())


@needs_torch
def test_what_the_memory_of_a_plain_loop_is_made_of_is_known(work: Path) -> None:
    done = loaded(work, "trains")
    assert done.returncode == 0, done.stderr
    (ring,) = (work.parent / "phasescope").glob("*.ring")
    with phasescope.attach(ring) as reader:
        found = made_of(reader)
    own = 4 * (3 * 3 + 3 + 3 + 1)
    assert found["parameters"] == found["gradients"] == own
    assert found["optimizer_state"] == 2 * own + 4 * 4
    assert "the training's tensors on the host at the end of a step: parameters 64 B" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    "command",
    [
        ["script.py", "told"],
        ["script.py", "told", "--help", "-m", "x", "--", "--dir", "-"],
        ["./script.py", "fail"],
        ["script.py", "fails_below"],
        ["script.py", "interrupts"],
        ["script.py", "exits_with:3"],
        ["script.py", "exits_with:a text"],
        ["script.py", "spawns"],
        ["-m", "package.module", "fail", "--dir"],
        ["-mpackage.module", "spawns"],
        ["-m", "package.module", "interrupts"],
        ["bad.py"],
    ],
    ids=" ".join,
)
def test_the_script_can_not_tell_the_difference(work: Path, command: list[str]) -> None:
    alone, under_run = python(work, *command), python(work, *RUN, *command)
    assert under_run.returncode == alone.returncode
    assert under_run.stdout == alone.stdout
    assert without_summary(under_run.stderr) == alone.stderr
    assert "phasescope: pid" in under_run.stderr, "the summary comes however it ends"


@needs_torch
@pytest.mark.parametrize("what", ["trains", "trains:3"], ids=["to its end", "until the data raise"])
def test_a_plain_loop_is_marked_and_computes_the_same(work: Path, what: str) -> None:
    alone, under_run = python(work, "script.py", what), python(work, *RUN, "script.py", what)
    assert under_run.returncode == alone.returncode
    assert under_run.stdout == alone.stdout, "the weights, with every bit"
    assert without_summary(under_run.stderr) == alone.stderr, "no frame of ours in the traceback"
    step = "step[data forward backward optimizer]"
    if what == "trains":
        assert folded(phases(work)) == f"epoch[{step} x 2 step[data]] x 2"
        assert re.search(r"^ +forward +4 ", under_run.stderr, re.MULTILINE)
        assert re.search(r"^ +step +4 ", under_run.stderr, re.MULTILINE), "the last fetch of an epoch begins no step"
    else:
        error = "error ValueError"
        assert folded(phases(work)) == f"epoch {error}[{step} step {error}[data {error}]]"


@needs_torch
def test_what_the_script_instruments_itself_is_marked_once(work: Path) -> None:
    done = loaded(work, "instruments")
    assert done.returncode == 0, done.stderr
    assert phases(work) == ["forward", "backward", "optimizer"]


@needs_torch
@pytest.mark.parametrize(
    ("what", "tree"),
    [
        ("has_phases_of_its_own", OWN),
        ("has_phases_of_its_own_later", f"epoch[{STEP} step[data]] later[forward backward]"),
        ("instruments_and_then_not", "data forward backward optimizer data step[forward backward]"),
    ],
)
def test_own_phases_have_nothing_of_ours_around_them(work: Path, what: str, tree: str) -> None:
    done = loaded(work, what)
    assert done.returncode == 0, done.stderr
    assert folded(phases(work)) == tree


@needs_torch
def test_a_thread_that_only_fetches_has_no_steps(work: Path) -> None:
    done = loaded(work, "fetches_in_a_thread")
    assert done.returncode == 0, done.stderr
    assert sorted(phases(work)) == sorted(
        ["data"] * 3 + ["step", "step/forward", "step/backward", "step/optimizer"] * 2
    )


@needs_torch
def test_what_a_training_saves_has_the_bytes_that_it_has_without(work: Path) -> None:
    alone, under_run = python(work, "script.py", "saves"), python(work, *RUN, "script.py", "saves")
    assert alone.returncode == under_run.returncode == 0, under_run.stderr
    assert under_run.stdout == alone.stdout


@needs_torch
def test_nothing_is_instrumented_or_printed_when_told_so(work: Path) -> None:
    done = loaded(work, "--no-instrument", "--no-summary", "--interval-ms", "50", "trains:9")
    assert done.returncode == 0
    assert done.stderr == ""
    assert phases(work) == []


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs lightning")
def test_a_fit_after_a_loop_lies_in_nothing_of_that(work: Path) -> None:
    done = python(work, *RUN, "script.py", "trains_before_lightning")
    assert done.returncode == 0, done.stderr
    assert folded(phases(work)).startswith("step[forward backward optimizer] fit[")


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs lightning")
def test_a_lightning_trainer_gets_its_callback_and_nothing_is_marked_twice(work: Path) -> None:
    done = python(work, *RUN, "script.py", "trains_in_lightning")
    assert done.returncode == 0, done.stderr
    batch = ["batch", "batch/forward", "batch/backward", "batch/optimizer"]
    epoch = ["epoch", *(f"epoch/{phase}" for phase in ["data", *batch])]
    assert phases(work) == ["fit", *(f"fit/{phase}" for phase in ["setup", *epoch])]


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
def test_a_hugging_face_trainer_gets_its_callback_and_nothing_is_marked_twice(work: Path) -> None:
    done = python(work, *RUN, "script.py", "trains_with_transformers")
    assert done.returncode == 0, done.stderr
    step = ["step", "step/forward", "step/backward", "step/optimizer"]
    epoch = ["epoch", *(f"epoch/{phase}" for phase in ["data", *step])]
    assert phases(work) == ["train", *(f"train/{phase}" for phase in ["setup", *epoch])]


@needs_torch
@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="needs keras")
def test_a_keras_model_gets_its_callback_and_nothing_is_marked_twice(work: Path) -> None:
    done = python(work, *RUN, "script.py", "trains_in_keras")
    assert done.returncode == 0, done.stderr
    batch = ["batch", "batch/forward", "batch/backward", "batch/optimizer"]
    epoch = ["epoch", *(f"epoch/{phase}" for phase in ["data", *batch])]
    to_build_the_model = ["data"]
    assert phases(work) == [*to_build_the_model, "fit", *(f"fit/{phase}" for phase in epoch)]


@needs_torch
def test_torchrun_gives_each_rank_a_session_and_one_summary(work: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = python(work, *launch, *RUN, "script.py", "is_a_rank", "--more")
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"(\d) \['--more'\]", done.stdout)) == ["0", "1"]
    assert done.stderr.count("phasescope: pid") == 1
    ranks = set()
    for ring in (work.parent / "phasescope").glob("*.ring"):
        with phasescope.attach(ring) as reader:
            ranks.add(reader.constants["rank"])
    assert ranks == {0, 1}


def test_a_directory_or_archive_with_a_main_runs_as_python_runs_it(work: Path) -> None:
    shutil.copy(work / "script.py", work / "package" / "__main__.py")
    shutil.make_archive(str(work / "archive"), "zip", work / "package")
    for program in ("package", "archive.zip"):
        alone, under_run = python(work, program, "told"), python(work, *RUN, program, "told")
        assert alone.returncode == under_run.returncode == 0
        assert under_run.stdout == alone.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "run needs a script, or -m and a module"),
        (["-m"], "run needs a script, or -m and a module"),
        (["nowhere.py"], "can't open file"),
        (["--interval-ms", "0", __file__], "interval_ms"),
    ],
)
def test_wrong_usage_ends_with_2_and_starts_nothing(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *arguments]) == 2
    assert text in capsys.readouterr().err
    assert phasescope.current() is None


@pytest.mark.parametrize(
    ("options", "way_out"),
    [
        (["-c", "pass"], "write the code into a file"),
        (["-"], "write the code into a file"),
        (["-u", "script.py"], "python -u -m phasescope run"),
    ],
)
def test_what_python_would_take_is_answered_with_the_way_out(
    options: list[str], way_out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *options]) == 2
    assert way_out in capsys.readouterr().err


def test_the_summary_is_of_the_session_that_the_script_began_last(work: Path) -> None:
    (work / "own.py").write_text(
        "import phasescope\nphasescope.stop()\nwith phasescope.start():\n    with phasescope.phase('own'): pass\n"
    )
    done = python(work, *RUN, "own.py")
    assert done.returncode == 0
    assert "that the script itself began last" in done.stderr
    assert "own " in done.stderr


def test_a_separator_before_the_script_is_taken(work: Path) -> None:
    (work / "prints.py").write_text("import sys; print(sys.argv)")
    done = python(work, *RUN, "--no-summary", "--", "prints.py", "--", "-x")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "['prints.py', '--', '-x']\n"


@pytest.mark.skipif(os.name == "nt", reason="there rings live in memory in any case")
def test_a_directory_that_is_refused_is_told_in_one_line_that_shows_no_source(work: Path) -> None:
    (work / "prints.py").write_text("print(1)")
    done = python(work, *RUN, "--no-summary", "--dir", str(work / "prints.py"), "prints.py")
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert done.stderr.startswith("phasescope: no ring file, so other processes cannot look in: ")
    assert done.stderr.count("\n") == 1
