"""Which packages are installed: asked before one is needed, since to import a framework takes seconds."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec


def is_installed(name: str) -> bool:
    """Return whether this module or package could be imported. Imports nothing but a package that holds it.

    A folder of the name without a package's code is none, although Python would import it from the current directory:
    Weights & Biases writes its runs into `wandb`, and others theirs into `tensorboard` or `ray`.
    """
    spec = _spec(name)
    return spec is not None and ("." in name or not _is_folder(spec))


def is_there(name: str) -> bool:
    """Return whether there is a package of this name, be it only a folder that others install their packages into."""
    return _spec(name) is not None


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # the package around it is not there; imported without a spec, or forbidden
        return None


def _is_folder(spec: ModuleSpec) -> bool:
    return spec.origin is None and spec.submodule_search_locations is not None
