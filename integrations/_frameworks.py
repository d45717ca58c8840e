"""The frameworks themselves: imported if an integration needs them, and answered with the pip line if missing."""

from __future__ import annotations

import importlib
from typing import Any


def framework(integration: str, *modules: str, pip: str) -> Any:
    """Return the first of the modules that is installed.

    Raises ModuleNotFoundError with the pip line if none is, although the current directory may have a folder of that
    name. One that is there, but fails to import, raises its own.
    """
    for module in modules:
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            top = module.partition(".")[0]
            if error.name is None or error.name.partition(".")[0] != top:
                raise
        else:
            if not _is_folder(found):
                return found
    names = " or ".join(module.partition(".")[0] for module in modules)
    raise ModuleNotFoundError(
        f"phasescope.integrations.{integration} needs {names}: pip install {pip}", name=modules[0]
    ) from None


def _is_folder(module: Any) -> bool:
    """Return whether Python made this package of a folder without code."""
    return getattr(module, "__file__", None) is None and hasattr(module, "__path__")
