"""How many objects there are of each class, without a reference to one of them that another thread could outlive."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from typing import Any

from phasescope.capture.census import base

MOST_TYPES = 60
_MOST_BLOCKS = 40_000_000  # of Python's memory: beyond that the training would wait for seconds


def types() -> dict[str, Any]:
    """Return the objects that the garbage collector knows: `objects`, all of them, and the commonest classes.

    The list of their classes is made within the interpreter's C code: no other thread comes in between, and the list of
    the objects themselves is gone before one does. Classes are known by their address, since a class's hash may
    be code of the training's.
    """
    if not getattr(sys, "_is_gil_enabled", _yes)():
        return {"why_not": "this interpreter has no lock that would keep the objects as they are"}
    blocks = sys.getallocatedblocks()
    if blocks > _MOST_BLOCKS:
        return {"why_not": f"there are too many objects ({blocks:,} blocks of memory)"}
    kinds = list(map(type, gc.get_objects()))
    counts = Counter(map(id, kinds))
    classes = dict(zip(map(id, kinds), kinds, strict=True))
    kinds.clear()
    types = [[_full_name(classes[key]), count] for key, count in counts.most_common(MOST_TYPES)]
    classes.clear()
    return {"objects": sum(counts.values()), "types": types}


def _full_name(kind: type) -> str:
    module = base.module_name(kind)
    name = base.type_name(kind)
    return name if module in ("", "builtins") else f"{module}.{name}"


def _yes() -> bool:
    """Return True: older versions have no interpreter without its lock."""
    return True
