"""What JSON can hold of any data: no number that is none."""

from __future__ import annotations

import math
from typing import Any


def finite(value: Any) -> Any:
    """The same, with keys as text and None for NaN and the infinities."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
