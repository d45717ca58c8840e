"""Exceptions that pass through our functions, on their way from the training's code to the training's code."""

from __future__ import annotations

import sys


def step_out(error: BaseException) -> None:
    """Take the calling function out of the traceback, so that whoever prints it prints the same as without us.

    It is called where the error is caught and raised again by a bare `raise`. Python 3.10 keeps the function in it.
    """
    trace = error.__traceback__
    if trace is not None and trace.tb_frame is sys._getframe(1):
        error.__traceback__ = trace.tb_next
