"""Which backends a session has: by itself those that can work here, or the ones that were asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from phasescope._log import logger
from phasescope.backends import BACKENDS, DEVICE_SOURCES, DRIVERS_ALONE
from phasescope.wire.codec import MASKED_COUNTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from phasescope.backends.protocol import Backend, DeviceSource

_METHODS = ("ready", "devices", "current_device", "allocator", "device", "identity")


class BackendUnavailableError(ValueError):
    """A backend that was asked for by name can not work here; the text says why and what would help."""


def choose(names: str | Sequence[Any]) -> tuple[list[Backend], list[DeviceSource]]:
    """The backends for `start(backends=...)`, in the order in which phases prefer them, the host last.

    "auto" takes all and stays silent about those that can not work. A name that is asked for and can not work raises
    BackendUnavailableError, an unknown one ValueError, anything that is no backend TypeError.
    """
    if isinstance(names, str):
        if names != "auto":
            raise ValueError(f'backends must be "auto" or a list, e.g. ["{names}"], not "{names}"')
        chosen: list[Backend] = list(_loadable(BACKENDS.values()))
    else:
        chosen = [_asked_for(name) for name in names]
    names_given = [backend.name for backend in chosen]
    for name in names_given:
        if names_given.count(name) > 1:
            raise ValueError(f'backends: "{name}" is there more than once')
    order = list(BACKENDS)
    chosen.sort(key=lambda backend: order.index(backend.name) if backend.name in order else -1)
    if all(backend.name != "cpu" for backend in chosen):
        chosen.append(load(BACKENDS["cpu"]))
    return chosen, list(_loadable(DEVICE_SOURCES.values()))


def _loadable(paths: Iterable[str]) -> Iterator[Any]:
    """What nobody asked for by name, without that which can not be imported: there may be no descriptor left."""
    for path in paths:
        try:
            yield load(path)
        except (OSError, ImportError) as error:
            logger.warning("%s is left out: %s", path.partition(":")[0], type(error).__name__)


def _asked_for(name: Any) -> Backend:
    if not isinstance(name, str):
        backend: Backend = name
        _check(backend)
        return backend
    known = {name: path for paths in (BACKENDS, DRIVERS_ALONE) for name, path in sorted(paths.items())}
    if name not in known:
        raise ValueError(f'backends: there is no "{name}"; known are {", ".join(known)}')
    backend = load(known[name])
    unavailable = backend.why_not()
    if unavailable is not None:
        raise BackendUnavailableError(
            f'backends: "{name}" can not work here: {unavailable.reason}. {unavailable.remedy}'
        )
    if hasattr(backend, "asked_for"):
        backend.asked_for = True
    return backend


def _check(backend: Backend) -> None:
    """Raise for an object that is no Backend, by what it lacks."""
    kind = type(backend).__name__
    lacks = [part for part in _METHODS if not callable(getattr(backend, part, None))]
    if lacks:
        raise TypeError(f"backends: a {kind} is neither a backend's name nor a Backend; it has no {', '.join(lacks)}")
    name, unavailable = getattr(backend, "name", None), getattr(backend, "unavailable", None)
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"backends: the name of a {kind} must be text that is not blank")
    if not isinstance(unavailable, (tuple, list)) or not set(unavailable) <= set(MASKED_COUNTERS):
        raise TypeError(f"backends: `unavailable` of a {kind} must hold names of counters")


def load(path: str) -> Any:
    """An instance of `module:class`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)()
