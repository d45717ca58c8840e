"""What libraries say is read right: whether memory ran out, whose, and how much was asked for."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from phasescope.capture import oom_message
from phasescope.capture.exception_info import (
    Shortage,
    is_out_of_memory,
    one_line,
    shortage_in,
    whose_memory,
)
from support import (
    out_of_memory_texts,
    posted_out_of_memory_texts,
    rarer_out_of_memory_texts,
    recent_out_of_memory_texts,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.out_of_memory_texts import Text

TABLES = (out_of_memory_texts, rarer_out_of_memory_texts, posted_out_of_memory_texts, recent_out_of_memory_texts)
OUT_OF_MEMORY: list[Text] = [text for table in TABLES for text in table.OUT_OF_MEMORY]
SOMETHING_ELSE: list[Text] = [text for table in TABLES for text in table.SOMETHING_ELSE]


def named(text: Text) -> str:
    return f"{text.library}: {text.text[:40]}"


def test_the_table_is_of_some_size() -> None:
    assert len(OUT_OF_MEMORY) >= 250
    assert len(SOMETHING_ELSE) >= 150
    assert len({(text.kind, text.text) for text in [*OUT_OF_MEMORY, *SOMETHING_ELSE]}) == len(OUT_OF_MEMORY) + len(
        SOMETHING_ELSE
    )


@pytest.mark.parametrize("text", OUT_OF_MEMORY, ids=named)
def test_out_of_memory_is_read_right(text: Text) -> None:
    error = text.made()
    assert is_out_of_memory(type(error), error)
    assert whose_memory(Shortage(type(error), error)) == text.whose
    assert oom_message.requested_bytes(text.text) == text.asked
    if text.device is not None:
        told = oom_message.stated_figures(text.text)
        assert f"{told['backend']}:{told['device_id']}" == text.device


@pytest.mark.parametrize("text", SOMETHING_ELSE, ids=named)
def test_what_only_looks_like_it_is_no_out_of_memory(text: Text) -> None:
    error = text.made()
    assert not is_out_of_memory(type(error), error)


def raised_by(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def read(error: BaseException) -> tuple[str | None, int | None]:
    shortage = shortage_in(type(error), error)
    assert shortage is not None, one_line(type(error), error)
    return whose_memory(shortage), oom_message.requested_bytes(one_line(shortage.exc_type, shortage.exc))


def test_tensorflows_own_classes() -> None:
    tf = pytest.importorskip("tensorflow")

    assert read(raised_by(lambda: tf.zeros([2**20, 2**20, 2**9]))) == ("host", 2**51)
    internal = tf.errors.InternalError(None, None, "Dst tensor is not initialized.")
    assert read(internal) == ("device", None)
    for words in (
        "/x; No space left on device",
        "/x; Too many open files",
        "Received message larger than max (9 vs. 8)",
    ):
        error = tf.errors.ResourceExhaustedError(None, None, words)
        assert not is_out_of_memory(type(error), error)
        assert one_line(type(error), error) == f"ResourceExhaustedError: {words}"


def test_jaxs_own_class() -> None:
    pytest.importorskip("jax")
    import jax.numpy as jnp

    assert read(raised_by(lambda: jnp.zeros((2**20, 2**20, 16)))) == (None, 2**46)


def test_torchs_own_classes() -> None:
    torch = pytest.importorskip("torch")
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

    assert read(raised_by(lambda: torch.empty(2**50, dtype=torch.uint8))) == ("host", 2**50)
    in_child = ProcessRaisedException("\n\n-- Process 0 terminated\nRuntimeError: CUDA error: out of memory\n", 0, 1)
    assert read(in_child) == ("device", None)
    exited = ProcessExitedException("process 0 terminated with signal SIGKILL", 0, 1, -9, "SIGKILL")
    assert shortage_in(type(exited), exited) is None


def test_numpys_and_arrows_own_classes() -> None:
    numpy, pyarrow = pytest.importorskip("numpy"), pytest.importorskip("pyarrow")

    error = raised_by(lambda: numpy.empty((2**40, 1024), dtype="int64"))
    assert read(error)[0] == "host"
    assert oom_message.requested_by_numpy(error) == 2**53
    assert read(raised_by(lambda: pyarrow.allocate_buffer(2**50))) == ("host", 2**50)


def test_a_command_that_was_killed_says_so() -> None:
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    error = raised_by(lambda: subprocess.run(command, check=True))
    assert one_line(type(error), error) == "CalledProcessError: a command exited with code -9"


def test_figures_that_make_no_sense_are_not_known() -> None:
    for words in ("9" * 25 + " bytes", "1.2.3 GiB", "9" * 30 + "E", ",,. GiB"):
        assert oom_message.requested_bytes(f"Tried to allocate {words}") is None
    shape = ",".join(["9999999"] * 40)
    assert oom_message.requested_bytes(f"OOM when allocating tensor with shape[{shape}] and type float") is None


def test_no_machine_has_more_than_63_bits_of_memory() -> None:
    assert oom_message.requested_bytes("Tried to allocate 7.99 EiB") == int(7.99 * 2**60)
    assert oom_message.requested_bytes("Tried to allocate 8 EiB") is None
    shape, last = ",".join(["128"] * 8), 2**5  # 2**56 of these, of 4 bytes each
    assert oom_message.requested_bytes(f"OOM when allocating tensor with shape[{shape},{last - 1}] and type float")
    largest = f"OOM when allocating tensor with shape[{shape},{last}] and type float"
    assert oom_message.requested_bytes(largest) is None


def test_what_the_driver_does_not_know_is_not_taken_for_nothing() -> None:
    """WSL and Windows give torch no size for a process, which it prints as 2**64 bytes."""
    by_library = {text.library: text.text for text in OUT_OF_MEMORY}
    told = oom_message.stated_figures(by_library["torch 2.9, WSL"])
    assert told["free_bytes"] == 0
    assert "process_used_bytes" not in told
    assert "other_processes_bytes" not in told
    others = by_library["torch 2.9, WSL"].replace(
        "Including", "Process 4011 has 17179869184.00 GiB memory in use. Including"
    )
    assert "other_processes_bytes" not in oom_message.stated_figures(
        others.replace("process has 17179869184.00", "process has 12")
    )


def test_the_words_of_cudamallocasync_have_figures() -> None:
    text = next(text.text for text in OUT_OF_MEMORY if text.library == "torch, cudaMallocAsync")
    gib = 2**30
    assert oom_message.stated_figures(text) == {
        "backend": "cuda",
        "device_id": 1,
        "total_bytes": int(15.77 * gib),
        "free_bytes": int(10.31 * 2**20),
        "allocated_bytes": int(13.87 * gib),
    }
    limited = oom_message.stated_figures(text.replace("17179869184.00 GiB", "14.00 GiB"))
    assert limited["allowed_bytes"] == 14 * gib


def test_of_a_report_of_processes_the_words_are_those_of_the_first_to_fail() -> None:
    ruled, failed = "=" * 60, "[0]:\n  rank      : 1\n  exitcode  : -9 (pid: 40123)\n  traceback : Signal 9 (SIGKILL)"
    text = (
        f"\n{ruled}\ntrain.py FAILED\nFailures:\n{'[3]: exitcode: -15 ' * 40}\nRoot Cause (first observed failure):\n"
    )
    error = RuntimeError(f"{text}{failed}\n{ruled}")
    assert one_line(type(error), error).startswith(
        "RuntimeError: [0]: rank : 1 exitcode : -9 (pid: 40123) traceback : Sig"
    )
    assert "====" not in one_line(type(error), error)


@pytest.mark.neutral
def test_a_long_setting_is_cut() -> None:
    name = "PYTORCH_CUDA_ALLOC_CONF"
    assert oom_message.settings({name: "x" * 200})[name] == "x" * 200
    assert oom_message.settings({name: "x" * 201})[name] == "x" * 200


@pytest.fixture
def proc(tmp_path: Path) -> str:
    """A process with 300 mappings."""
    (tmp_path / "sys" / "vm").mkdir(parents=True)
    (tmp_path / "self").mkdir()
    (tmp_path / "sys" / "vm" / "max_map_count").write_text("65530\n")
    (tmp_path / "self" / "maps").write_text("7f00-7f01 r--p 00000000 00:00 0\n" * 300)
    return str(tmp_path)


@pytest.mark.neutral
def test_mappings_are_counted_over_several_pages(proc: str) -> None:
    assert oom_message.mappings(proc) == {"mappings": 300, "mappings_limit": 65530}


@pytest.mark.neutral
@pytest.mark.parametrize(("failures", "known"), [(3, True), (4, False)])
def test_counting_them_is_tried_four_times_where_memory_is_short(
    proc: str, monkeypatch: pytest.MonkeyPatch, failures: int, known: bool
) -> None:
    left = [failures]

    def counted(_path: str) -> int:
        if left[0]:
            left[0] -= 1
            raise MemoryError
        return 7

    monkeypatch.setattr(oom_message, "_lines", counted)
    assert oom_message.mappings(proc) == ({"mappings": 7, "mappings_limit": 65530} if known else {})


def test_the_older_wording_of_torch_and_that_of_mps_have_figures() -> None:
    mib = 2**20
    by_library = {text.library: text.text for text in reversed(OUT_OF_MEMORY)}
    assert oom_message.stated_figures(by_library["torch 1.13"]) == {
        "backend": "cuda",
        "device_id": 0,
        "total_bytes": int(10.76 * 1024 * mib),
        "free_bytes": int(14.69 * mib),
        "allocated_bytes": int(9.42 * 1024 * mib),
        "slack_bytes": int(9.57 * 1024 * mib) - int(9.42 * 1024 * mib),
    }
    told = oom_message.stated_figures(by_library["torch MPS"])
    assert (told["backend"], told["total_bytes"]) == ("mps", int(27.2 * 1024 * mib))
    assert told["allocated_bytes"] == int(11.25 * 1024 * mib)
    assert told["process_used_bytes"] == int(11.25 * 1024 * mib) + int(15.6 * 1024 * mib)
    assert told["free_bytes"] == told["total_bytes"] - told["process_used_bytes"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("begin", "told"),
    [
        ("\n\n-- Process 1 terminated with the following error:\nTraceback (most recent call last):\n", "-- Process 1"),
        ("ray::Worker.train() (pid=811, ip=10.0.0.3)\n", "ray::Worker.train()"),
    ],
)
def test_of_another_processs_traceback_what_was_raised_is_kept_however_long_it_is(begin: str, told: str) -> None:
    frames = "".join(f'  File "/app/model.py", line {line}, in forward\n    x = self.block(x)\n' for line in range(300))
    raised = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 640.00 MiB. GPU 0 has"
    line = one_line(RuntimeError, RuntimeError(f"{begin}{frames}{raised}"))
    assert line.startswith(f"RuntimeError: {told}")
    assert line.endswith(raised)


def test_a_traceback_that_says_nothing_at_its_end_is_left_as_it_is() -> None:
    words = 'Traceback (most recent call last):\n  File "a.py", line 1'
    assert one_line(RuntimeError, RuntimeError(words)) == f"RuntimeError: {' '.join(words.split())}"
