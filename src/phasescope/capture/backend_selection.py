"""Which backends a session has: by itself those that can work here, or the ones that were asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope._log import logger
from phasescope.backends import BACKENDS, DEVICE_SOURCES, DRIVERS_ALONE
from phasescope.wire.encoding import MASKED_COUNTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from phasescope.backends.protocol import Backend, DeviceSource

_METHODS = ("ready", "devices", "current_device", "allocator", "device", "identity")


class BackendUnavailableError(ValueError):
    """A backend that was named explicitly cannot work here; the text says why, and what would help."""


def choose(names: str | Sequence[Any]) -> tuple[list[Backend], list[DeviceSource]]:
    """Return the backends for `start(backends=...)`, in the order in which phases prefer them, the host last.

    "auto" takes all and stays silent about those that cannot work. Raises BackendUnavailableError for a name that
    cannot work here, ValueError for an unknown one, and TypeError for anything that is not a backend.
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
    """Yield the backends that nobody named, except those that cannot be imported: there may be no descriptor left."""
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
    paths_by_name = {name: path for paths in (BACKENDS, DRIVERS_ALONE) for name, path in sorted(paths.items())}
    if name not in paths_by_name:
        raise ValueError(f'backends: there is no "{name}"; known are {", ".join(paths_by_name)}')
    backend = load(paths_by_name[name])
    unavailable = backend.why_not()
    if unavailable is not None:
        raise BackendUnavailableError(
            f'backends: "{name}" cannot work here: {unavailable.reason}. {unavailable.remedy}'
        )
    if hasattr(backend, "asked_for"):
        backend.asked_for = True
    return backend


def _check(backend: Backend) -> None:
    """Raise for an object that is not a Backend, naming the methods that it lacks."""
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
    """Return an instance of `module:class`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)()


class Diagnosis(NamedTuple):
    """Whether one source of counters can work here, and if not, why and what would help."""

    name: str
    kind: str
    works: bool
    reason: str
    remedy: str


def diagnose() -> list[Diagnosis]:
    """Ask every backend and driver of this package, in this process. May import frameworks; initialises none."""
    answers = []
    for kind, paths in (("backend", BACKENDS), ("device source", DEVICE_SOURCES)):
        for name, path in paths.items():
            try:
                unavailable = load(path).why_not()
            except Exception as error:
                unavailable = (f"{type(error).__name__} while asking", "please report this")
            reason, remedy = unavailable or ("", "")
            answers.append(Diagnosis(name, kind, unavailable is None, reason, remedy))
    return answers
