"""A request to a running session: one small file beside its ring, into which the session writes the answer.

The asker makes the file, its user's alone, holds its lock for as long as it waits, and gives it its name. The session
takes the name away again: from then on only the two have the file open, and it is gone with the last of them. So
nothing is left by an asker, or a training, that is killed. What lies under that name and is not such a file, or has no
lock, is not answered.

The request is JSON in the first `REQUEST_BYTES`; after it come 16 bytes, the state and the answer's length, and the
answer, which is there once the state says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import struct
from typing import Any

from phasescope import _os_compat

SUFFIX = ".request"
VERSION = 1
REQUEST_BYTES = 4096
MAX_ANSWER_BYTES = 16 << 20
_TAKEN_SUFFIX = ".taken"
_HEAD = struct.Struct("<QQ")
_ANSWER_AT = REQUEST_BYTES + _HEAD.size
_WAITING, _TAKEN, _ANSWERED = range(3)
_PIECE = 1 << 20


def path_beside(ring_path: str) -> str:
    """Return where requests to the session of this ring file lie."""
    return ring_path + SUFFIX


class Request:
    """One that was put there: for the side that asks. `withdraw()` it in the end."""

    def __init__(self, path: str, fd: int) -> None:
        self._path, self._fd = path, fd

    @classmethod
    def put(cls, ring_path: str, asked: dict[str, Any], user: int) -> Request | None:
        """Put a request there, as that user's file; None if another asker's waits there.

        Raises OSError if the file cannot be made.
        """
        path = path_beside(ring_path)
        unnamed = f"{path}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
        fd = _os_compat.create_file(unnamed)
        try:
            if user not in (-1, _os_compat.user_id()):
                os.fchown(fd, user, -1)  # of root, who asks another user's
            _os_compat.lock(fd)
            os.write(fd, json.dumps({"version": VERSION, **asked}).encode().ljust(REQUEST_BYTES, b"\0"))
            os.write(fd, _HEAD.pack(_WAITING, 0))
            with _os_compat.alone_in(os.path.dirname(path)):  # noqa: PTH120
                if not _is_free(path):
                    os.close(fd)
                    return None
                os.rename(unnamed, path)  # noqa: PTH104
            return cls(path, fd)
        except BaseException:
            os.close(fd)
            raise
        finally:
            with contextlib.suppress(OSError):
                os.unlink(unnamed)  # noqa: PTH108

    @property
    def is_taken(self) -> bool:
        """Whether the session has seen it."""
        return self._head()[0] >= _TAKEN

    def answer(self) -> bytes | None:
        """Return the answer; None as long as there is none. Raises OSError, and ValueError if it is too long."""
        state, length = self._head()
        if state != _ANSWERED:
            return None
        if length > MAX_ANSWER_BYTES:
            raise ValueError("the answer is too long")
        answer = bytearray()
        while len(answer) < length:
            part = _os_compat.pread(self._fd, min(length - len(answer), _PIECE), _ANSWER_AT + len(answer))
            if not part:
                raise ValueError("the answer is cut off")
            answer += part
        return bytes(answer)

    def withdraw(self) -> None:
        """Take the request back, if it was not taken, and let go of the file."""
        with contextlib.suppress(OSError), _os_compat.alone_in(os.path.dirname(self._path)):  # noqa: PTH120
            if os.path.samestat(os.fstat(self._fd), os.lstat(self._path)):
                os.unlink(self._path)  # noqa: PTH108
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def _head(self) -> tuple[int, int]:
        head = _os_compat.pread(self._fd, _HEAD.size, REQUEST_BYTES)
        return _HEAD.unpack(head) if len(head) == _HEAD.size else (_WAITING, 0)


def _is_free(path: str) -> bool:
    """Return whether no asker's request waits there. One that a killed asker left is removed."""
    try:
        fd = _os_compat.open_file(path)
    except FileNotFoundError:
        return True
    except OSError:  # a symbolic link: no request
        os.unlink(path)  # noqa: PTH108
        return True
    try:
        if _os_compat.is_locked(fd):
            return False
        os.unlink(path)  # noqa: PTH108
        return True
    finally:
        os.close(fd)


class Taken:
    """One that a session took: for the side that answers, once, or lets go."""

    def __init__(self, fd: int, asked: dict[str, Any]) -> None:
        self.asked = asked
        self._fd = fd
        self._file = os.fstat(fd)

    def answer(self, answer: bytes) -> None:
        """Write the answer, and let go. Raises OSError if there is no room for it."""
        try:
            if len(answer) > MAX_ANSWER_BYTES:
                raise ValueError("the answer is too long")
            if not self._is_ours():
                return
            _os_compat.allocate(self._fd, _ANSWER_AT + len(answer))
            for start in range(0, len(answer), _PIECE):
                os.pwrite(self._fd, answer[start : start + _PIECE], _ANSWER_AT + start)
            os.pwrite(self._fd, _HEAD.pack(_ANSWERED, len(answer)), REQUEST_BYTES)
        finally:
            self.let_go()

    def is_waited_for(self) -> bool:
        """Return whether the asker still lives, and waits."""
        return self._is_ours() and _os_compat.is_locked(self._fd)

    def let_go(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._is_ours(fd):
            with contextlib.suppress(OSError):
                os.close(fd)

    def _is_ours(self, fd: int | None = None) -> bool:
        """Return whether the descriptor is still that of the request: a program that closes all that it finds may have
        another file under its number by now."""
        try:
            return os.path.samestat(os.fstat(self._fd if fd is None else fd), self._file)
        except OSError:
            return False


def is_there(path: str) -> bool:
    """Return whether something lies there: the look of each tick, which must cost next to nothing."""
    return os.access(path, os.F_OK)


def take(path: str) -> Taken | None:
    """Take what lies there; None if it is not a request that an asker of this user waits for. Raises OSError if it
    cannot be taken away."""
    taken = path + _TAKEN_SUFFIX
    os.rename(path, taken)  # noqa: PTH104 - at once: another asker's may lie there a moment later
    try:
        fd = _os_compat.open_file(taken, writable=True)
    except OSError:  # a symbolic link, or a directory
        return None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(taken)  # noqa: PTH108
    asked = None
    try:
        asked = _asked(fd)
        if asked is not None:
            os.pwrite(fd, _HEAD.pack(_TAKEN, 0), REQUEST_BYTES)
            return Taken(fd, asked)
    finally:
        if asked is None:
            os.close(fd)
    return None


def _asked(fd: int) -> dict[str, Any] | None:
    """Return what is asked by a file; None if it is not a request, or nobody waits for the answer."""
    status = os.fstat(fd)
    is_own = _os_compat.user_id() in (-1, status.st_uid) and status.st_mode & 0o077 == 0
    if not stat.S_ISREG(status.st_mode) or not is_own or status.st_nlink or status.st_size != _ANSWER_AT:
        return None
    if not _os_compat.is_locked(fd):
        return None
    try:
        asked = json.loads(_os_compat.pread(fd, REQUEST_BYTES, 0).rstrip(b"\0"))
    except (ValueError, RecursionError):
        return None
    return asked if isinstance(asked, dict) and asked.get("version") == VERSION else None
