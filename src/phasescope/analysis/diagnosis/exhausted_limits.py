"""Resources that were used up, or processes that were lost, as an exception states them.

A data loader's worker, a child, shared memory, mappings, open files. Such exceptions name no memory; some are about it
all the same.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from phasescope.analysis.formatting import plural

WORKER_KILLED, SHARED_MEMORY = "worker_killed", "shared_memory"
MAPPINGS, OPEN_FILES = "mappings", "open_files"

_KILLED = re.compile(r"DataLoader worker \(pid (?P<pid>\d{1,10})\) is killed by signal: (?:Killed|SIGKILL)")
_BUS_ERROR = re.compile(r"DataLoader worker \(pid (?P<pid>\d{1,10})\) is killed by signal: Bus error")
_KILLED_CHILD = re.compile(
    r"\bprocess (?P<number>\d{1,6}) terminated with signal (?:SIGKILL|Killed|9)\b"  # torch.multiprocessing.spawn
    r"|\(pid:? (?P<pid>\d{1,10})\).{0,80}\b(?:exitcode: -9|SIGKILL|Signal 9)\b"  # torchrun, and runners like it
    r"|exit codes? of the workers? (?:are|is) \{[^}]{0,80}SIGKILL"  # loky
    r"|exited with code (?:-9|137)\b|died with <Signals\.SIGKILL"  # a launcher of its own
    r"|Horovod .{0,200}\bExit code: (?:-9|137)\b"
    r"|Failed core proc\(s\): \{[^}]{0,80}: -9\b"  # vLLM
)
_EXIT_OF_KILLED = re.compile(r"^ended with exit code (?P<code>-9|137)\b")
_SAID_TO_BE_MEMORY = re.compile(
    r"\bOOMKilled\b|\(state: OUT_OF_MEMORY\)|Detected \d{1,4} oom[_-]kill event"
    r"|\btask \d{1,6}: Out Of Memory"  # srun
)
"""The words of batch systems about another process that they, or the kernel for them, ended for its memory."""

_BROKEN_POOL = re.compile(
    r"process in the process pool was terminated abruptly|child process terminated abruptly"
    r"|process managed by the executor was unexpectedly terminated"  # loky
    r"|subprocesses has abruptly died during map"  # datasets
    r"|(?:actor|worker) died unexpectedly before finishing"  # Ray
    r"|DataLoader worker \(pid\(s\) [\d, ]{1,200}\) exited unexpectedly"
)
_NO_SHARED_MEMORY = re.compile(
    r"out of shared memory|/torch_\w{1,80}>?.{0,80}No space left on device|/dev/shm.{0,80}No space left on device"
    r"|No space left on device: '/(?:dev/shm/|torch_)"
    r"|creating shared memory segment /dev/shm/nccl|shared memory\(shm\) for file \S{1,80} Success"
)
"""A worker that gets a bus error has met a page of /dev/shm that could not be had."""

_NO_MAPPING = re.compile(r"unable to mmap .{0,400}Cannot allocate memory|os error 12\)")
"""Also if the address space is limited; but never for want of room in /dev/shm."""

_NO_DESCRIPTOR = re.compile(r"Too many open files|os error 24\)|received 0 items of ancdata")


class UsedUp(NamedTuple):
    """The parts of a cause: its kind and its text, whether it is certain, and its figures."""

    kind: str
    text: str
    certain: bool
    figures: dict[str, int | float]


def used_up_by(words: str, oom_kills: int | None) -> UsedUp | None:
    """Return the cause that an exception of these words states; None if it states nothing of the kind.

    `oom_kills` is how many processes of the control group the kernel has killed for memory meanwhile; None if unknown.
    """
    if _NO_DESCRIPTOR.search(words):
        text = "The process had used up its open files (`ulimit -n`): files, sockets, and tensors that were shared."
        return UsedUp(OPEN_FILES, text, True, {})
    bus_error = _BUS_ERROR.search(words)
    if bus_error is not None:
        text = (
            f"A data loader worker (pid {bus_error['pid']}) died of a bus error: the shared memory (/dev/shm) through "
            "which it hands over its batches was too small, most likely; a mapped file that was shortened under it "
            "does the same."
        )
        return UsedUp(SHARED_MEMORY, text, False, {"worker_pid": int(bus_error["pid"])})
    if _NO_SHARED_MEMORY.search(words):
        what_for = "NCCL's ranks exchange data" if is_of_nccl(words) else "data loader workers hand over their batches"
        text = f"The shared memory (/dev/shm) through which {what_for} was too small."
        return UsedUp(SHARED_MEMORY, text, False, {})
    if _NO_MAPPING.search(words):
        return UsedUp(MAPPINGS, no_mapping_text(None, None), False, {})
    return _killed(words, oom_kills)


def is_of_nccl(words: str) -> bool:
    """Return whether the shared memory is NCCL's, not a data loader's."""
    return "/dev/shm/nccl" in words


def no_mapping_text(mappings: int | None, limit: int | None) -> str:
    """Say that a process may map no more: a fact with its figures, a conclusion without them."""
    if mappings is None or limit is None:
        return (
            "The kernel refused a memory mapping: as many as a process may have (vm.max_map_count), most likely; each "
            "shared tensor and each mapped file takes one."
        )
    return (
        f"The process had used up its memory mappings: {mappings:,} of {limit:,} (vm.max_map_count); each shared "
        "tensor and each mapped file takes one."
    )


def _killed(words: str, oom_kills: int | None) -> UsedUp | None:
    if _SAID_TO_BE_MEMORY.search(words):
        text = "A process that it had started was ended for want of memory, as its batch system says."
        return UsedUp(WORKER_KILLED, text, True, {})
    worker, child = _KILLED.search(words), _KILLED_CHILD.search(words)
    lost = worker or child
    if lost is None:
        return _broken(oom_kills) if _BROKEN_POOL.search(words) else None
    pid = lost["pid"]
    who = "A data loader worker" if worker else "A child process"
    who += f" (pid {pid})" if pid else f" (number {child['number']})" if child and child["number"] else ""
    return _struck(f"{who} was killed", {"worker_pid": int(pid)} if pid else {}, oom_kills)


def exit_of_killed_child(ending: str, oom_kills: int | None) -> UsedUp | None:
    """Return the cause of an exit code by which a launcher passes on that its child was killed; None for any other."""
    exited = _EXIT_OF_KILLED.match(ending)
    if exited is None:
        return None
    return _struck(f"It {exited[0]}, by which launchers pass on that a child process was killed", {}, oom_kills)


def _broken(oom_kills: int | None) -> UsedUp | None:
    """Return the cause of a broken pool of workers, but only if the kernel is known to have killed for memory."""
    return _struck("A worker process disappeared", {}, oom_kills) if oom_kills else None


def _struck(who: str, figures: dict[str, int | float], oom_kills: int | None) -> UsedUp:
    if oom_kills is None:
        text = f"{who}: by the kernel's OOM killer, most likely, which is not known for certain."
        return UsedUp(WORKER_KILLED, text, False, figures)
    if oom_kills:
        text = f"{who}, and the kernel's OOM killer struck in its control group, {plural(oom_kills, 'time')}."
    else:
        text = f"{who}, though not by the kernel's OOM killer, which has not struck in its control group."
    return UsedUp(WORKER_KILLED, text, False, {**figures, "oom_kills": oom_kills})
