"""`phasescope explain` over real processes that end in ways that are easily told wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.commands import explained_in
from support.waiting import CEILING_S

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and signals as Linux has them")

SCRIPTS = Path(__file__).parent / "scripts"


def ended(name: str, directory: Path, script: str = "ended.py") -> dict[str, Any]:
    """What `explain` says of the session that this training left."""
    environment = {**os.environ, "PHASESCOPE_DIR": str(directory)}
    subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPTS / script), *name.split()],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=CEILING_S,
        check=False,
    )
    return explained_in(directory)[0]


def test_a_missing_module_is_the_headline_and_no_leak_is_advised(tmp_path: Path) -> None:
    answer = ended("missing_module", tmp_path)
    assert answer["cause"]["kind"] == "exception"
    assert answer["cause"]["text"].startswith(
        "It was ended by an exception: ModuleNotFoundError: No module named 'there_is_no_such_module', in report; "
        "the process's memory on the host grew before, +"
    )
    assert answer["cause"]["text"].endswith(", which has nothing to do with it as far as it says.")
    assert answer["advice"] == []
    assert any(line.startswith("host: +2") for line in answer["phases"])


def test_open_files_that_ran_out_are_the_headline(tmp_path: Path) -> None:
    answer = ended("open_files", tmp_path)
    assert answer["cause"]["kind"] == "open_files"
    assert "grow" not in answer["cause"]["text"]
    assert "ulimit -n" in answer["advice"][-1]
    assert not any("losses" in line for line in answer["advice"])


def test_mappings_that_were_used_up_are_told_from_shared_memory(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    answer = ended("mappings", tmp_path)
    assert answer["cause"]["kind"] == "mappings"
    assert answer["cause"]["text"].startswith("The process had used up its memory mappings: 6")
    assert answer["cause"]["figures"]["mappings_limit"] == int(Path("/proc/sys/vm/max_map_count").read_text())
    assert answer["ending"]["path"] == ["step", "data"]
    assert "/dev/shm" not in str(answer["advice"])


def test_a_cleanup_that_fails_does_not_hide_that_memory_ran_out(tmp_path: Path) -> None:
    answer = ended("cleanup", tmp_path)
    assert answer["ending"]["kind"] == "host_out_of_memory"
    assert answer["ending"]["path"] == ["save"]
    assert answer["ending"]["context"] == "RuntimeError: the archive could not be finished, while handling MemoryError"


def test_what_ends_a_second_attempt_is_told_and_not_why_there_was_one(tmp_path: Path) -> None:
    answer = ended("fallback", tmp_path)
    assert answer["cause"]["kind"] == "exception"
    assert answer["ending"]["error_type"] == "KeyError"
    assert answer["ending"]["path"] == ["train", "step"]
    assert answer["out_of_memory"] == 1


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(
    ("target", "kind", "text"),
    [
        ("well", "finished", "finished: the interpreter of a child process exited"),
        ("in_pool", "finished", "finished: the interpreter of a child process exited"),
        ("raises", "exception", "ended by an exception: KeyError: loss, in evaluate"),
        ("raises_outside", "exception", "ended by an exception: ValueError: bad"),
        ("forks", "finished", "finished: the interpreter of a child process exited"),
        ("exits", "exception", "ended with exit code 3"),
        ("killed", "killed", "killed or crashed: its process ended without stopping the session"),
    ],
)
def test_a_child_ends_as_it_does(tmp_path: Path, method: str, target: str, kind: str, text: str) -> None:
    ending = ended(f"{method} {target}", tmp_path, "children.py")["ending"]
    assert (ending["kind"], ending["text"]) == (kind, text)
    assert ending["certain"]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="the end is seen by multiprocessing's finalizers")
def test_a_child_whose_end_is_not_to_be_seen_says_so(tmp_path: Path) -> None:
    ending = ended("fork raises_beside_tools", tmp_path, "children.py")["ending"]
    text = "the interpreter of a child process exited; how its target ended is not known"
    assert (ending["kind"], ending["text"]) == ("unknown", text)


def test_an_evaluation_that_gathers_until_it_is_killed_comes_first(tmp_path: Path) -> None:
    answer = ended("gathering", tmp_path)
    assert answer["cause"]["kind"] == "phase_rises"
    (rise,) = answer["rises"]
    assert (rise["device"], rise["path"], rise["rises"]) == ("host", ["evaluate"], True)
    assert 400 * 2**20 < rise["risen_bytes"] < 600 * 2**20
    assert "was not short" not in answer["cause"]["text"]


def test_an_evaluation_that_gathers_until_memory_runs_out_is_why(tmp_path: Path) -> None:
    answer = ended("gathering_to_limit", tmp_path)
    assert answer["ending"]["kind"] == "host_out_of_memory"
    assert answer["cause"]["kind"] == "phase_rises"
    assert answer["cause"]["text"].endswith("So it ran into its own limit of 1.00 GiB (RLIMIT_AS, `ulimit -v`).")


HIDDEN = """
import resource, sys
{start}
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
try:
    bytearray(2**31)
finally:
    {then}
"""


@pytest.mark.parametrize(
    ("start", "then", "words", "certain"),
    [
        ("", "raise RuntimeError('nothing to close')", "RuntimeError: nothing to close", True),
        ("phasescope.start()", "raise RuntimeError('nothing to close')", "RuntimeError: nothing to close", True),
        ("", "sys.exit(7)", "SystemExit", False),
    ],
    ids=["run", "alone", "exit"],
)
def test_memory_that_ran_out_outside_of_phases_has_its_figures(
    tmp_path: Path, start: str, then: str, words: str, certain: bool
) -> None:
    script = tmp_path / "hidden.py"
    script.write_text(HIDDEN.format(start=f"import phasescope; {start}" if start else "", then=then))
    runner = [] if start else ["-m", "phasescope", "run", "--dir", str(tmp_path)]
    environment = {**os.environ, "PHASESCOPE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, *runner, str(script)], env=environment, capture_output=True, timeout=CEILING_S
    )
    assert done.returncode == (7 if words == "SystemExit" else 1)
    answer, _ = explained_in(tmp_path)
    ending = answer["ending"]
    assert (ending["kind"], ending["certain"], ending["path"]) == ("host_out_of_memory", certain, [])
    assert ending["context"] == f"{words}, while handling MemoryError"
    assert ("; exit code 7" in ending["text"]) == (words == "SystemExit")
    assert answer["out_of_memory"] == 1
    assert answer["cause"]["kind"] == "limit"


@pytest.mark.parametrize(("name", "within"), [("in_backward", "backward"), ("in_optimizer", "optimizer")])
def test_a_device_that_is_full_under_instrument_alone_has_its_phase_and_figures(
    tmp_path: Path, name: str, within: str
) -> None:
    pytest.importorskip("torch")
    answer = ended(name, tmp_path)
    assert answer["ending"]["kind"] == "device_out_of_memory"
    assert answer["ending"]["path"][-1] == within
    assert answer["cause"]["kind"] == "too_large"
    assert "76.0 GiB of 79.1 GiB are live" in answer["cause"]["text"]
