"""What ended a child, or was used up, is read from the words of real exceptions, as a session keeps them."""

from __future__ import annotations

import errno
import subprocess

import pytest

from phasescope.analysis.diagnosis.exhausted_limits import used_up_by
from phasescope.capture.exception_info import one_line

RULED = "=" * 60
ELASTIC = f"""
{RULED}
train.py FAILED
{"-" * 60}
Failures:
[1]:
  time      : 2025-05-12_01:47:56
  host      : node7.cluster
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 40122)
  error_file: <N/A>
  traceback : Signal 15 (SIGTERM) received by PID 40122
{"-" * 60}
Root Cause (first observed failure):
[0]:
  time      : 2025-05-12_01:47:55
  host      : node7.cluster
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 40123)
  error_file: <N/A>
  traceback : Signal 9 (SIGKILL) received by PID 40123
{RULED}"""
HOROVOD = (
    "Horovod detected that one or more processes exited with non-zero status, thus causing the job to be terminated. "
    "The first process to do so was:\nProcess name: 0\nExit code: {code}\n"
)
SUBMITIT = "Job 8812 (task: 0) with path /logs/8812_0_result.pkl has not produced any output (state: {state})"
NCCL = (
    "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:94, unhandled system error (run with "
    "NCCL_DEBUG=INFO for details), NCCL version 2.26.2\nncclSystemError: System call (e.g. socket, malloc) or external "
    "library call failed or device error. \nLast error:\n{last}"
)
SEGMENT = "Error while creating shared memory segment /dev/shm/nccl-h1Kq2T (size 9637888)"
MAP = "One of the subprocesses has abruptly died during map operation.To debug the error, disable multiprocessing."
LOKY = (
    "A worker process managed by the executor was unexpectedly terminated. This could be caused by a segmentation "
    "fault while calling the function or by an excessive memory usage causing the Operating System to kill the worker."
)
ACTOR = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: Trainer\n\tactor_id: 99f0{long}\nWorker "
    "exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file."
)
ENGINE = "Engine core initialization failed. See root cause above. Failed core proc(s): {{{procs}}}"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError(ELASTIC), "worker_killed"),
        (RuntimeError(ELASTIC.replace("-9", "-11").replace("9 (SIGKILL)", "11 (SIGSEGV)")), None),
        (subprocess.CalledProcessError(137, ["torchrun"]), "worker_killed"),
        (subprocess.CalledProcessError(-9, ["torchrun"]), "worker_killed"),
        (subprocess.CalledProcessError(1, ["torchrun"]), None),
        (RuntimeError(HOROVOD.format(code=137)), "worker_killed"),
        (RuntimeError(HOROVOD.format(code=1)), None),
        (RuntimeError("Pod train-worker-0 terminated with reason OOMKilled (exit code 137)"), "worker_killed"),
        (RuntimeError("srun failed: slurmstepd: error: Detected 1 oom_kill event in StepId=881.0."), "worker_killed"),
        (RuntimeError(SUBMITIT.format(state="OUT_OF_MEMORY")), "worker_killed"),
        (RuntimeError(SUBMITIT.format(state="TIMEOUT")), None),
        (RuntimeError(ENGINE.format(procs="'EngineCore_0': -9")), "worker_killed"),
        (RuntimeError(ENGINE.format(procs="'EngineCore_0': 1")), None),
        (RuntimeError("DataLoader worker (pid 164244) is killed by signal: Killed. "), "worker_killed"),
        (RuntimeError("DataLoader worker (pid 164244) is killed by signal: Aborted. "), None),
        (RuntimeError("No space left on device: '/dev/shm/nccl-Xa1'"), "shared_memory"),
        (RuntimeError("unable to write to file </torch_812_2_9>: No space left on device (28)"), "shared_memory"),
        (RuntimeError("No space left on device: '/data/checkpoint.pt'"), None),
        (RuntimeError(NCCL.format(last=SEGMENT)), "shared_memory"),
        (RuntimeError(NCCL.format(last=f"{SEGMENT}, error: No space left on device (28)")), "shared_memory"),
        (RuntimeError(NCCL.format(last="Proxy Call to rank 0 failed (Connect)")), None),
        (RuntimeError("unable to allocate shared memory(shm) for file </torch_44_2_9>: Success (0)"), "shared_memory"),
        (RuntimeError("srun: error: gpu001: task 3: Out Of Memory"), "worker_killed"),
        (RuntimeError("srun: error: gpu001: task 3: Exited with exit code 1"), None),
        (OSError(errno.EMFILE, "Too many open files", "/data/shard.tar"), "open_files"),
    ],
    ids=lambda value: str(value)[:50].strip() if isinstance(value, Exception) else "",
)
def test_the_words_of_an_exception_are_about_memory_or_not(error: Exception, kind: str | None) -> None:
    used_up = used_up_by(one_line(type(error), error), None)
    assert (None if used_up is None else used_up.kind) == kind


def test_what_a_batch_system_states_is_certain() -> None:
    used_up = used_up_by(SUBMITIT.format(state="OUT_OF_MEMORY"), None)
    assert used_up is not None
    assert used_up.certain
    assert used_up.text == "A process that it had started was ended for want of memory, as its batch system says."


@pytest.mark.parametrize("words", [MAP, LOKY, ACTOR.format(long=""), ACTOR.format(long="0" * 300)])
def test_a_process_that_vanished_was_killed_for_memory_only_where_the_kernel_counted_that(words: str) -> None:
    told = one_line(RuntimeError, RuntimeError(words))
    assert used_up_by(told, None) is None
    assert used_up_by(told, 0) is None
    used_up = used_up_by(told, 2)
    assert used_up is not None
    assert used_up.kind == "worker_killed"
    assert "struck in its control group, 2 times" in used_up.text
