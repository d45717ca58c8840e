"""Threads whose libraries say nothing: their log lines may hold addresses, and repeat at every attempt.

The other threads of the process keep their lines: in a training these libraries may be the user's as well.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOTS = ("opentelemetry", "urllib3", "requests", "charset_normalizer", "mlflow", "alembic", "wandb")

_quiet: set[int] = set()


def quiet_this_thread() -> None:
    """Drop what the libraries log in the calling thread, and keep the user's instrumentation from following it."""
    is_new = threading.get_ident() not in _quiet
    _quiet_logs()
    if not is_new:
        return
    with contextlib.suppress(Exception):  # a user's instrumentation of `requests` would make spans of our requests
        from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))


@contextlib.contextmanager
def quiet_for_now() -> Iterator[None]:
    """Drop what the libraries log in the calling thread, which may be the training's, until the block ends."""
    is_new = threading.get_ident() not in _quiet
    _quiet_logs()
    try:
        yield
    finally:
        if is_new:
            end_of_quiet()


def _quiet_logs() -> None:
    _quiet.add(threading.get_ident())
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in _ROOTS:
            logger = logging.getLogger(name)
            if _is_loud not in logger.filters:
                logger.addFilter(_is_loud)


def end_of_quiet() -> None:
    """Let the calling thread be heard again: its number may be another thread's next."""
    _quiet.discard(threading.get_ident())


def _is_loud(record: logging.LogRecord) -> bool:
    return record.thread not in _quiet
