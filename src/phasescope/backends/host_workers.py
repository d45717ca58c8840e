"""The processes below this one, DataLoader workers above all. Asked by the sampler, never at a boundary."""

from __future__ import annotations

import os
from pathlib import Path

PROC = "/proc"


def descendants(proc: str | Path = PROC) -> list[int]:
    """The pids of this process's children, theirs, and so on.

    Linux lists them by the thread that started them; where it does not (a kernel without that list, another system),
    psutil looks through all processes. Raises psutil.Error where that fails.
    """
    own = os.getpid()
    try:
        found = _children(Path(proc), own)
    except OSError:
        import psutil

        return [child.pid for child in psutil.Process().children(recursive=True)]
    for pid in found:  # it grows while it is walked
        try:
            found += _children(Path(proc), pid)
        except OSError:  # it has ended
            continue
    return found


def _children(proc: Path, pid: int) -> list[int]:
    tasks = proc / str(pid) / "task"
    found: list[int] = []
    missing: OSError | None = None
    for thread in os.listdir(tasks):  # noqa: PTH208 - a Path for each of hundreds of threads is not needed
        try:
            with open(f"{tasks}/{thread}/children", "rb") as file:  # noqa: PTH123 - the same
                found += map(int, file.read().split())
        except OSError as error:  # the thread has ended, or the kernel keeps no such list at all
            missing = error if thread == str(pid) else missing
    if missing is not None:
        raise missing
    return found
