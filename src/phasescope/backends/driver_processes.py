"""Which of the processes that a driver lists on a device is this one.

A driver numbers processes as the machine does, or as the container does that asks, by its version. In a container of
which the machine's numbers are not known, a number from the list may be anyone's: then it is said that this is not
known.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PROC = Path("/proc")
_MACHINES_PID_NAMESPACE = 0xEFFFFFFC
"""The inode of the pid namespace that the kernel starts with: the same on every Linux since 3.8."""


def shares(listed: Mapping[int, int | None], *, in_use: bool, proc: Path = PROC) -> dict[str, int]:
    """Return `process_used_bytes` and `other_processes_bytes`, each only if it is known.

    `listed` is what each process holds on the device, in bytes, by its number; None if the driver does not say.
    `in_use`: this process is known to use the device, hence is in a list that is complete.
    """
    own, sure = _own_number(listed, in_use, proc)
    if not sure:
        return {}
    figures: dict[str, int] = {}
    used = listed.get(own, 0)
    if used is not None:
        figures["process_used_bytes"] = used
    others = [size for number, size in listed.items() if number != own]
    known_sizes = [size for size in others if size is not None]
    if len(known_sizes) == len(others):
        figures["other_processes_bytes"] = sum(known_sizes)
    return figures


def _own_number(listed: Mapping[int, int | None], in_use: bool, proc: Path) -> tuple[int, bool]:
    """Return this process's number in the list, and whether that is certain."""
    number = _number_in(proc)
    if number in listed:
        return number, _numbers_are_ours(listed, proc)
    if not in_use:
        return number, _is_machines_namespace(proc)
    # It must be in the list, by a number that is not known here; where there is only one, it is that.
    return next(iter(listed), 0), len(listed) == 1 and not _is_machines_namespace(proc)


def _number_in(proc: Path) -> int:
    """Return this process as /proc numbers it, which in some containers is the machine's."""
    try:
        return int((proc / "self").readlink().name)
    except (OSError, ValueError):  # no /proc: a system that has no such namespaces
        return os.getpid()


def _numbers_are_ours(listed: Mapping[int, int | None], proc: Path) -> bool:
    """Return whether the list numbers processes as /proc does. All of a machine's to be found by chance: hardly."""
    return _is_machines_namespace(proc) or all((proc / str(number)).exists() for number in listed)


def _is_machines_namespace(proc: Path) -> bool:
    try:
        return (proc / "self" / "ns" / "pid").stat().st_ino == _MACHINES_PID_NAMESPACE
    except OSError:
        return not (proc / "self").exists()
