"""Environment variables that hide every device from this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from phasescope.backends.protocol import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable


def hidden_by(variables: Iterable[str]) -> Unavailable | None:
    """Return which of these variables hides every device, and the remedy; None if none does."""
    for variable in variables:
        if os.environ.get(variable) in ("", "-1"):
            return Unavailable(f"{variable} hides every device", f"unset {variable}, or name a device in it")
    return None
