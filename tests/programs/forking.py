"""Load modules, and then fork for each program that is asked for: `python forking.py DESCRIPTOR MODULE ...`.

A fork goes on as `__main__` of the program, or of the module that is to run it, with its arguments, directory,
environment and descriptors, and ends as Python ends. Or it loads modules besides, and forks in its turn. The process
itself ends with the one that asks.
"""

from __future__ import annotations

import functools
import gc
import importlib
import importlib.machinery
import json
import os
import runpy
import socket
import sys
import threading
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(link: socket.socket, modules: list[str]) -> dict[str, Any]:
    """Answer each request by how the program ended; return only in a fork, with what it is asked to run."""
    for module in modules:
        importlib.import_module(module)
    if threading.active_count() > 1:
        raise RuntimeError(f"{modules} started threads: a fork would be without them")
    gc.freeze()  # else each fork copies and searches all of that once more as it ends
    _tell(link, seconds=time.process_time())
    while True:
        text, descriptors = _asked(link)
        asked = json.loads(text)
        pid = os.fork()
        if pid == 0:
            link.close()
            return _served_besides(asked, descriptors) if "modules" in asked else {**asked, "descriptors": descriptors}
        for descriptor in descriptors:
            os.close(descriptor)
        if "modules" in asked:
            continue  # that one answers by itself
        _tell(link, pid=pid)
        _, status, used = os.wait4(pid, 0)
        _tell(link, exit=os.waitstatus_to_exitcode(status), seconds=used.ru_utime + used.ru_stime)


def _served_besides(asked: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    """Load further modules in this fork, with a link and an output of its own, and serve."""
    link, output = descriptors
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    return serve(socket.socket(fileno=link), asked["modules"])


def _asked(link: socket.socket) -> tuple[bytes, list[int]]:
    """Wait for a request: a line, with the descriptors that become standard output and standard error."""
    text, descriptors, _, _ = socket.recv_fds(link, 1 << 16, 2)
    while text and not text.endswith(b"\n"):
        text += link.recv(1 << 16)
    if not text:
        os._exit(0)
    return text, descriptors


def _tell(link: socket.socket, **answer: Any) -> None:
    link.sendall(json.dumps(answer).encode() + b"\n")


def become(asked: dict[str, Any]) -> Callable[[], object]:
    """Make this process that of a program; return what runs it."""
    for number, descriptor in enumerate(asked["descriptors"], 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(asked["work"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    program, through = asked["program"], asked["through"]
    command = [program, *asked["arguments"]]
    sys.orig_argv[:] = [sys.executable, *through, *command]
    if through:
        _, module, *options = through
        sys.argv[:] = ["-m", *options, *command]
        sys.path[0] = asked["work"]
        return functools.partial(runpy._run_module_as_main, module)  # type: ignore[attr-defined]
    sys.argv[:] = command
    sys.path[0] = str(Path(program).parent)
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=program, __cached__=None, __builtins__=__builtins__, __annotations__={})
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", program)
    sys.modules["__main__"] = main
    code = compile(Path(program).read_bytes(), program, "exec", dont_inherit=True)
    return functools.partial(exec, code, main.__dict__)


if __name__ == "__main__":
    become(serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]))()
