"""Backends of frameworks that are not in use yet: what each of them waits for, so that a boundary need not ask it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from phasescope.capture.exception_info import is_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.backends.protocol import Backend, Variable
    from phasescope.capture.collector import Collector

    Awaited = tuple[int, tuple[tuple[dict[str, Any], str, Any], ...]]
    """How many modules are imported, and the values of variables. The compiled core reads it as well."""


def is_ready(backend: Backend) -> bool:
    """Return whether the process uses the backend by now. Never initialises it."""
    try:
        return backend.ready()
    except Exception as error:  # a framework that is being imported in another thread just now
        if is_from_signal_handler(error):
            raise
        return False


def awaited_by(pending: Sequence[Collector]) -> Awaited | None:
    """Return what has to change before one of these backends can be ready, as it is now; None if one does not say."""
    modules, variables = len(sys.modules), []
    for collector in pending:
        try:
            named: Sequence[Variable] | None = getattr(collector.backend, "awaited", _nobody_knows)()
        except Exception as error:
            if is_from_signal_handler(error):
                raise
            named = None
        if named is None:
            return None
        variables += [(namespace, name, namespace.get(name)) for namespace, name in named]
    return modules, tuple(variables)


def is_still(awaited: Awaited | None) -> bool:
    """Return whether nothing of it has changed since."""
    if awaited is None:
        return False
    modules, variables = awaited
    return modules == len(sys.modules) and all(namespace.get(name) is value for namespace, name, value in variables)


def _nobody_knows() -> None:
    return None
