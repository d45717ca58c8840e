"""The child processes of this one, with their names. Read by the sampler, never at a boundary.

torch calls a DataLoader's workers `pt_data_worker`; all other processes below a training are not data workers:
compilers and their pools, launchers, programs of the user's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

PROC = "/proc"

DATA_WORKER = "pt_data_worker"

_MOST_NAMES, _LONGEST_NAME = 8, 32
_LOOKS = 10  # a worker is called like its parent until it has begun


class ProcessNames:
    """How many processes there are of each name: of the commonest eight."""

    def __init__(self, proc: Path) -> None:
        self._proc = proc
        self._known: dict[int, tuple[str, int]] = {}

    def of(self, pids: list[int]) -> dict[str, int]:
        """Return how many of these processes have each name; empty if the system does not say."""
        self._known = {pid: self._name(pid) for pid in pids}
        counts: dict[str, int] = {}
        for name, _ in self._known.values():
            counts[name] = counts.get(name, 0) + 1
        counts.pop("", None)
        return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:_MOST_NAMES])

    def is_data_worker(self, pid: int) -> bool:
        """Return whether it is a DataLoader's, of those that were looked at last."""
        return self._known.get(pid, ("", 0))[0] == DATA_WORKER

    def _name(self, pid: int) -> tuple[str, int]:
        """Return its name, and how often it was looked at."""
        name, looks = self._known.get(pid, ("", 0))
        if looks >= _LOOKS:
            return name, looks
        try:
            text = (self._proc / str(pid) / "comm").read_bytes()
            return text.decode("utf-8", "replace").strip()[:_LONGEST_NAME], looks + 1
        except OSError:
            return "", looks


def descendants(proc: str | Path = PROC) -> list[int]:
    """Return the pids of this process's children, theirs, and so on.

    Linux says in one call if there are none, and lists them by the thread that started them; where it does not (a
    kernel without that list, another system), psutil looks through all processes. Raises psutil.Error if that fails.
    """
    if str(proc) == PROC and _has_none():
        return []
    own = os.getpid()
    try:
        pids = _children(Path(proc), own)
    except OSError:
        import psutil

        return [child.pid for child in psutil.Process().children(recursive=True)]
    for pid in pids:  # it grows while it is walked
        try:
            pids += _children(Path(proc), pid)
        except OSError:  # it has ended
            continue
    return pids


_waitid: Any = getattr(os, "waitid", None) if sys.platform == "linux" else None
_ALL_KINDS = 0x40000000  # __WALL, of Linux: also those that were started in no usual way


def _has_none() -> bool:
    """Return whether the kernel says that this process has no children. Those that have ended, and were not waited for,
    count, and stay to be waited for."""
    if _waitid is None:
        return False
    try:
        _waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | _ALL_KINDS)
    except ChildProcessError:
        return True
    except OSError:
        return False
    return False


def _children(proc: Path, pid: int) -> list[int]:
    tasks = proc / str(pid) / "task"
    pids: list[int] = []
    missing: OSError | None = None
    for thread in os.listdir(tasks):  # noqa: PTH208 - a Path for each of hundreds of threads is not needed
        try:
            with open(f"{tasks}/{thread}/children", "rb") as file:  # noqa: PTH123 - the same
                pids += map(int, file.read().split())
        except OSError as error:  # the thread has ended, or the kernel keeps no such list at all
            missing = error if thread == str(pid) else missing
    if missing is not None:
        raise missing
    return pids
