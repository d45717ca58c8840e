"""Python's warning of a fork beside threads, left out where it would be untrue.

Python 3.12 and newer warn a program that forks while it has several threads. Where all but one are ours, and rest, the
warning would not be given without us. It cannot be switched off, so for the moment of the fork a filter of ours stands
in `warnings.filters`. It fits that one warning, once, and is taken back when it has fitted, at the next fork, or a
while later: `subprocess` calls the hooks of forks too, and never warns.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_WITHIN_S = 1.0
"""How long after the hooks Python may still warn."""

_WARNS = sys.version_info >= (3, 12)
_COUNTS_FIRST = sys.version_info >= (3, 14, 1) or (3, 13, 10) <= sys.version_info < (3, 14)
"""Whether Python counts the threads before it calls the hooks in the parent, some of which start threads."""

_REGISTRY = "__warningregistry__"


def leave_out(is_untrue: Callable[[], bool], module_names: dict[str, Any]) -> None:
    """Leave the warning out of the fork that begins now, if it is untrue, and still is when Python counts.

    `module_names` are those of the module that forks.
    """
    global _filter
    if _WARNS and type(warnings.filters) is list and is_untrue():
        _filter = _Filter(warnings.filters, is_untrue, module_names)


def withdraw() -> None:
    """Take the filter back, if it is still there."""
    current = _filter  # another thread may take it back meanwhile
    if current is not None:
        current.withdraw()


def withdraw_if_late() -> None:
    """Take the filter back if Python has not warned for so long that it will not."""
    current = _filter
    if current is not None and time.monotonic() > current.until:
        current.withdraw()


class _Filter:
    """A row of `warnings.filters`, and what Python compares the warning's text with."""

    def __init__(self, filters: list[Any], is_untrue: Callable[[], bool], module_names: dict[str, Any]) -> None:
        self.until = time.monotonic() + _WITHIN_S
        self._is_untrue = is_untrue
        self._thread = threading.get_ident()
        self._text = f"This process (pid={os.getpid()}) is multi-threaded, use of fork"
        self._module_names = None if _REGISTRY in module_names else module_names
        self._filters = filters
        self._row = ("ignore", self, DeprecationWarning, None, 0)
        # Not by `warnings.filterwarnings`, after which every warning that was shown once is shown once more.
        filters.insert(0, self._row)

    def match(self, text: str) -> bool:
        """Return whether the warning is to be left out. Called by Python, in place of a pattern's method."""
        try:
            if threading.get_ident() != self._thread or not text.startswith(self._text):
                return False
            if not (_COUNTS_FIRST or self._is_untrue()):
                self.until = 0.0  # not withdrawn here: Python goes through the list by index, and would leave one out
                return False
            self.withdraw()
            self._remove_registry()
        except Exception:
            return False
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a pattern that fits nothing: joblib and scikit-learn send the filters to their workers."""
        return re.compile, ("(?!)",)

    def withdraw(self) -> None:
        """Remove the row from the list where it is, and from a copy that has taken that one's place."""
        global _filter
        if _filter is self:
            _filter = None
        filters_now: Any = warnings.filters
        for filters in (self._filters, filters_now):
            index = next((index for index, row in enumerate(filters) if row is self._row), None)
            if index is not None:
                with contextlib.suppress(Exception):  # a tuple, or whatever else a program may have put there
                    del filters[index]

    def _remove_registry(self) -> None:
        """Remove what Python has just made to note the warning in, beside the names of the module that forks."""
        if self._module_names is not None and self._module_names.get(_REGISTRY, {}).keys() == {"version"}:
            del self._module_names[_REGISTRY]


_filter: _Filter | None = None
