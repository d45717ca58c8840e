"""Exceptions that name no memory and are about it all the same: how torch says that a data loader lost a worker."""

from __future__ import annotations

import re
from typing import NamedTuple

from .text import plural

WORKER_KILLED, SHARED_MEMORY = "worker_killed", "shared_memory"

_KILLED = re.compile(r"DataLoader worker \(pid (?P<pid>\d{1,10})\) is killed by signal: (?:Killed|SIGKILL)")
_NO_SHARED_MEMORY = re.compile(
    r"out of shared memory|/torch_\w{1,80}>?.{0,80}(?:No space left on device|Cannot allocate memory)"
)
"""A worker that gets a bus error has met a page of /dev/shm that could not be had."""


class LostWorker(NamedTuple):
    """What a cause is made of: its kind and its text, whether that is certain, and its figures."""

    kind: str
    text: str
    certain: bool
    figures: dict[str, int | float]


def lost_worker(words: str, oom_kills: int | None) -> LostWorker | None:
    """What an exception of these words tells of a worker; None where it tells of none.

    `oom_kills` is by how many processes of the control group the kernel has killed for memory meanwhile; None: not
    known.
    """
    if _NO_SHARED_MEMORY.search(words):
        text = "The shared memory (/dev/shm) through which data loader workers hand over their batches was too small."
        return LostWorker(SHARED_MEMORY, text, False, {})
    killed = _KILLED.search(words)
    if killed is None:
        return None
    who = f"A data loader worker (pid {killed['pid']}) was killed"
    figures: dict[str, int | float] = {"worker_pid": int(killed["pid"])}
    if oom_kills is None:
        text = f"{who}: by the kernel's OOM killer, most likely, which is not known for certain."
        return LostWorker(WORKER_KILLED, text, False, figures)
    if oom_kills:
        text = f"{who}, and the kernel's OOM killer struck in its control group, {plural(oom_kills, 'time')}."
    else:
        text = f"{who}, though not by the kernel's OOM killer, which has not struck in its control group."
    return LostWorker(WORKER_KILLED, text, False, {**figures, "oom_kills": oom_kills})
