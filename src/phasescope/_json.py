"""JSON that every parser reads, whatever the data holds: no NaN, no infinity."""

from __future__ import annotations

import json
import math
from typing import Any


def json_text(value: Any, *, indent: int | None = None, separators: tuple[str, str] | None = None) -> str:
    """Return the value as JSON in ASCII; NaN and the infinities become null."""
    try:
        return json.dumps(value, indent=indent, separators=separators, allow_nan=False)
    except (ValueError, TypeError):  # NaN or infinity, or a key that JSON does not have
        return json.dumps(_finite(value), indent=indent, separators=separators, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _key(key: Any) -> Any:
    return key if isinstance(key, (str, int)) or key is None else str(key)
