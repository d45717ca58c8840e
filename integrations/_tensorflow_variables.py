"""The bytes of TensorFlow's variables, by where they lie: from their shapes and types, without reading them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ._attributes import attributes_of
from ._sizes import HOST

if TYPE_CHECKING:
    from ._sizes import CategorySizes

_DEVICE = re.compile(r"device:(\w+):(\d+)")
_NO_NUMBERS = ("string", "resource", "variant")


def add_variable(sizes: CategorySizes, category: str, variable: Any) -> None:
    """Count a `tf.Variable`; of one that a strategy has on several devices, each copy. One without a shape has not
    been initialised, and has no memory."""
    own = attributes_of(variable)
    copies = own.get("_values")
    if type(copies) is list or type(copies) is tuple:
        for copy in copies:
            add_variable(sizes, category, copy)
        return
    handle, shape, dtype = own.get("_handle"), own.get("_shape"), own.get("_dtype")
    elements = None if handle is None or shape is None else shape.num_elements()
    device = _device(handle)
    if not elements or dtype is None or device is None or dtype.base_dtype.name in _NO_NUMBERS:
        return
    if sizes.is_new(id(handle)):
        sizes.add(category, device, elements * dtype.size, dtype.base_dtype.name == "float32")


def _device(handle: Any) -> str | None:
    """Return where a variable lies; None if that is not measured."""
    match = _DEVICE.search(str(getattr(handle, "device", "")))
    if match is None:
        return None
    kind, number = match.groups()
    return HOST if kind == "CPU" else f"tensorflow:{number}" if kind == "GPU" else None
