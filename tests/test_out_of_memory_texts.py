"""What libraries say is read right: whether memory ran out, whose, and how much was asked for."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from out_of_memory_texts import OUT_OF_MEMORY, SOMETHING_ELSE, Text
from phasescope.capture import oom_message
from phasescope.capture.exception_info import (
    Shortage,
    is_out_of_memory,
    one_line,
    shortage_in,
    whose_memory,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.neutral


def named(text: Text) -> str:
    return f"{text.library}: {text.text[:40]}"


def test_the_table_is_of_some_size() -> None:
    assert len(OUT_OF_MEMORY) >= 60
    assert len(SOMETHING_ELSE) >= 30
    assert len({text.text for text in [*OUT_OF_MEMORY, *SOMETHING_ELSE]}) == len(OUT_OF_MEMORY) + len(SOMETHING_ELSE)


@pytest.mark.parametrize("text", OUT_OF_MEMORY, ids=named)
def test_out_of_memory_is_read_right(text: Text) -> None:
    error = text.made()
    assert is_out_of_memory(type(error), error)
    assert whose_memory(Shortage(type(error), error)) == text.whose
    assert oom_message.requested_bytes(text.text) == text.asked


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


def test_the_older_wording_of_torch_and_that_of_mps_have_figures() -> None:
    mib = 2**20
    by_library = {text.library: text.text for text in reversed(OUT_OF_MEMORY)}
    assert oom_message.told(by_library["torch 1.13"]) == {
        "backend": "cuda",
        "device_id": 0,
        "total_bytes": int(10.76 * 1024 * mib),
        "free_bytes": int(14.69 * mib),
        "allocated_bytes": int(9.42 * 1024 * mib),
        "slack_bytes": int(9.57 * 1024 * mib) - int(9.42 * 1024 * mib),
    }
    told = oom_message.told(by_library["torch MPS"])
    assert (told["backend"], told["total_bytes"]) == ("mps", int(27.2 * 1024 * mib))
    assert told["allocated_bytes"] == int(11.25 * 1024 * mib)
    assert told["process_used_bytes"] == int(11.25 * 1024 * mib) + int(15.6 * 1024 * mib)
    assert told["free_bytes"] == told["total_bytes"] - told["process_used_bytes"]  # type: ignore[operator]
