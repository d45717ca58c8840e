"""Whether Python could run a script or a module, found out before a session begins: of one that is mistyped nothing
stays. What is said, and the exit code, are Python's own."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from importlib.machinery import BuiltinImporter, PathFinder
from typing import TYPE_CHECKING, NoReturn

from phasescope.analysis.formatting import printable
from phasescope.cli import NOT_FOUND, WRONG_USAGE
from phasescope.cli._output import OutputError, errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec


def refuse(message: str, exit_code: int = NOT_FOUND) -> NoReturn:
    """End as Python ends that cannot run what it was told to."""
    with contextlib.suppress(OutputError, BrokenPipeError):
        errors().line(printable(f"{sys.executable}: {message}"))
    sys.exit(exit_code)


def refuse_script(filename: str, error: OSError) -> NoReturn:
    """End as Python ends that cannot open its script."""
    refuse(f"can't open file {filename!r}: [Errno {error.errno}] {error.strerror}", WRONG_USAGE)


def check_main(filename: str) -> None:
    """End as Python does if a directory or archive has no `__main__`."""
    if PathFinder.find_spec("__main__", [filename]) is None:
        refuse(f"can't find '__main__' module in {filename!r}")


def seems_there(module: str, directory: str) -> bool:
    """Return whether `python -m` would find the module in this directory or on the path. Nothing is imported for it,
    so a package that brings its parts from elsewhere by its own code looks as if it had none."""
    name, *parts = module.split(".")
    with _first_on_path(directory):
        try:
            spec = importlib.util.find_spec(name) if name else None
        except (ImportError, ValueError):
            return False
        for part in parts:
            name = f"{name}.{part}"
            spec = _found(name, spec)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = _found(f"{name}.__main__", spec)
    return spec is not None and getattr(spec.loader, "__name__", None) != BuiltinImporter.__name__


def _found(name: str, package: ModuleSpec | None) -> ModuleSpec | None:
    if package is None or package.submodule_search_locations is None:
        return None
    locations: Sequence[str] = package.submodule_search_locations
    asked = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
    return next((spec for find in asked if find is not None and (spec := find(name, locations)) is not None), None)


@contextlib.contextmanager
def _first_on_path(directory: str) -> Iterator[None]:
    """Have the path as it is once the module runs."""
    if getattr(sys.flags, "safe_path", False):
        yield
        return
    before, sys.path[0] = sys.path[0], directory
    try:
        yield
    finally:
        sys.path[0] = before
