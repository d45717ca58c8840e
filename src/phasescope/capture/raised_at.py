"""The place of a `raise MemoryError` in the training's own code: then no allocation failed, as far as anybody knows."""

from __future__ import annotations

from opcode import opmap

from phasescope.capture.exception_class import linked, traceback_of
from phasescope.capture.memory_errors import is_out_of_memory
from phasescope.capture.own_files import is_own_file

_MAX_FRAMES = 10_000
_RAISE = bytes([opmap["RAISE_VARARGS"]])


def raised_at(error: BaseException | None) -> str | None:
    """Return `file.py:line` of the statement; None if the error comes from a failed call, or from a library's code.

    Libraries raise again what a worker's allocation ended with, and so does code that handles one.
    """
    if type(error) is not MemoryError or any(is_out_of_memory(type(each), each) for _, each in linked(error)):
        return None
    trace = traceback_of(error)
    for _ in range(_MAX_FRAMES):
        if trace is None or trace.tb_next is None:
            break
        trace = trace.tb_next
    if trace is None or trace.tb_next is not None:
        return None
    code = trace.tb_frame.f_code
    if not is_own_file(code.co_filename) or code.co_code[trace.tb_lasti :][:1] != _RAISE:
        return None
    name = code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{name}:{trace.tb_lineno}"
