"""The directories where the rings of this machine lie, and whether one can hold them.

`$PHASESCOPE_DIR`, else a directory of the user's own in the run-time tmpfs (`$XDG_RUNTIME_DIR`, `/dev/shm`), else in
the temporary directory. It must be the user's alone (mode 0700, no symlink): a training's doings are nobody else's
business. If others can enter the directory, rings lie in a folder of the user's own in it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from phasescope import _os_compat

SUFFIX = ".ring"
UNFINISHED = ".ring.tmp"
BY_START = "start(directory=...)"
ELSEWHERE = f"name another directory (PHASESCOPE_DIR, or {BY_START})"


class DirectoryError(OSError):
    """The directory cannot hold live files; the text says why and what to do."""


class RingDirectory(NamedTuple):
    """A directory where rings may lie, and whether it can hold one now."""

    path: str
    ok: bool
    reason: str


def places(directory: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the directories where this user's rings may lie, the preferred one first."""
    named = _named(directory)
    own = f"phasescope-{_os_compat.user_id()}"
    if named:
        return [str(Path(named, own)) if _is_open_to_others(named) else named]
    choices = []
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if _is_own_directory(runtime):
        choices.append(str(Path(runtime) / "phasescope"))
    if Path("/dev/shm").is_dir():
        choices.append(f"/dev/shm/{own}")
    choices.append(str(Path(_os_compat.temporary_directory()) / own))
    return choices


def _named(directory: str | os.PathLike[str] | None) -> str:
    """Return the directory that the caller or the environment names, or "" if neither names one."""
    named = directory or os.environ.get("PHASESCOPE_DIR")
    return os.path.abspath(os.path.expanduser(named)) if named else ""  # noqa: PTH100, PTH111 - a symlink must stay one


def _is_open_to_others(path: str) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and _os_compat.user_id() >= 0 and mode & 0o077 != 0


def looked_into(directory: str | os.PathLike[str] | None) -> list[str]:
    """Return `places` and, if a directory is named, it and the folder in it: it may have been closed since."""
    named = _named(directory)
    within = [named, str(Path(named, f"phasescope-{_os_compat.user_id()}"))] if named else []
    return list(dict.fromkeys((*places(directory), *within)))


def not_looked_into(directory: str | os.PathLike[str] | None = None) -> list[str]:
    """Return a reason for each directory that exists but is not this user's alone, so that nothing in it is shown.

    A shared directory without rings of its own beside the users' folders is as it should be.
    """
    reasons = []
    for path in filter(os.path.lexists, looked_into(directory)):
        try:
            check_directory(path)
        except DirectoryError as error:
            if path in places(directory) or _holds_rings(path):
                reasons.append(str(error))
    return reasons


def _holds_rings(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(entry.name.endswith(SUFFIX) for entry in entries)
    except OSError:
        return False


def _is_own_directory(path: str) -> bool:
    """Return whether the directory is this user's.

    After `sudo` the variable still names the other user's: a file that root leaves there would lock that user out.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - "" must not become "."
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and _os_compat.user_id() in (-1, status.st_uid)


def describe_directory(directory: str | os.PathLike[str] | None = None) -> list[RingDirectory]:
    """Return each place with whether it could hold a ring, for a person. Creates nothing."""
    described = []
    for path in places(directory):
        try:
            if os.path.lexists(path):
                check_directory(path)
            existing = next(parent for parent in (Path(path), *Path(path).parents) if os.path.lexists(parent))
            if not os.access(existing, os.W_OK | os.X_OK):
                raise DirectoryError(f"{path}: no right to write in {existing}; {ELSEWHERE}")
            described.append(RingDirectory(path, True, ""))
        except OSError as error:
            described.append(RingDirectory(path, False, str(error)))
    return described


def check_directory(path: str) -> None:
    """Raise DirectoryError unless this is a directory that only this user can enter."""
    try:
        status = os.lstat(path)
    except OSError as error:
        raise DirectoryError(f"{path} cannot be used: {error.strerror}") from error
    if stat.S_ISLNK(status.st_mode):
        raise DirectoryError(f"{path} is a symbolic link; name the directory itself, or remove the link")
    if not stat.S_ISDIR(status.st_mode):
        raise DirectoryError(f"{path} is not a directory; {ELSEWHERE}")
    if _os_compat.user_id() >= 0 and status.st_uid != _os_compat.user_id():
        raise DirectoryError(f"{path} belongs to user {status.st_uid}; {ELSEWHERE}")
    if _os_compat.user_id() >= 0 and status.st_mode & 0o077:
        way_out = f"run: chmod 700 {path}" if _may_be_closed(path, status.st_mode) else _own_directory()
        raise DirectoryError(f"{path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}); {way_out}")


def _may_be_closed(path: str, mode: int) -> bool:
    """Return whether closing it to others harms nobody: it holds only rings and is not a place like /tmp or /mnt."""
    if mode & stat.S_ISVTX or len(Path(path).parts) <= 2:
        return False
    try:
        with os.scandir(path) as entries:
            return all(entry.name.endswith((SUFFIX, UNFINISHED)) for entry in entries)
    except OSError:
        return False


def _own_directory() -> str:
    own = Path(_os_compat.temporary_directory()) / f"phasescope-{_os_compat.user_id()}"
    return f"name a directory of its own, such as {own} (PHASESCOPE_DIR, or {BY_START})"
