"""Counts that the libraries of a training keep of their own objects.

It shows the possible reasons for growing memory: graphs that are traced again and again, figures that nobody closes,
many small Python objects. Only libraries that are loaded already are read, and only numbers that they keep;
nothing is imported, and no object is touched.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_AT_MOST = 1000
"""This takes one part in this many of the time."""

_KNOWN = {
    "torch": "torch",
    "tensorflow": "tensorflow",
    "keras": "keras",
    "jax": "jax",
    "transformers": "transformers",
    "lightning": "lightning",
    "pytorch_lightning": "lightning",
    "torchmetrics": "torchmetrics",
    "matplotlib.pyplot": "matplotlib",
}
_THRESHOLD = "MALLOC_MMAP_THRESHOLD_"
_TUNABLE = "glibc.malloc.mmap_threshold="


class Libraries:
    """Constructing it asks nothing."""

    def __init__(
        self,
        modules: Mapping[str, Any] = sys.modules,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        spent_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self._modules = modules
        self._monotonic_ns = monotonic_ns
        self._spent_ns = spent_ns  # of this thread alone: waiting for the interpreter costs the training nothing
        self._due_ns = 0

    def read(self) -> dict[str, Any]:
        """Return `libraries`, the names of those that are loaded; `open_figures` (matplotlib), `traced_functions`
        (TensorFlow), `compiled_graphs` (torch.compile), `python_blocks` (pieces of memory that Python's objects take),
        `mmap_threshold_bytes` (if glibc was set to give larger pieces back). What is not known is left out, and
        everything if it is too early to ask again."""
        if self._monotonic_ns() < self._due_ns:
            return {}
        began_ns = self._spent_ns()
        loaded = dict.fromkeys(name for module, name in _KNOWN.items() if module in self._modules)
        counts: dict[str, Any] = {"libraries": list(loaded)}
        for name, question in (
            ("open_figures", self._open_figures),
            ("traced_functions", self._traced_functions),
            ("compiled_graphs", self._compiled_graphs),
            ("python_blocks", _python_blocks),
            ("mmap_threshold_bytes", _mmap_threshold),
        ):
            try:
                count = question()
            except Exception:  # a library that is being imported or changed in another thread just now
                continue
            if type(count) is int:
                counts[name] = count
        self._due_ns = self._monotonic_ns() + (self._spent_ns() - began_ns) * _AT_MOST
        return counts

    def _open_figures(self) -> int | None:
        pyplot = self._modules.get("matplotlib.pyplot")
        return None if pyplot is None else len(pyplot.get_fignums())

    def _traced_functions(self) -> int | None:
        """Return their number, gradients and each signature included, if TensorFlow's context exists already."""
        module = self._modules.get("tensorflow.python.eager.context")
        context = None if module is None else module.context_safe()
        if context is None or not context._initialized:
            return None
        return len(context.list_function_names())

    def _compiled_graphs(self) -> int | None:
        dynamo = self._modules.get("torch._dynamo.utils")
        counted = None if dynamo is None else dynamo.counters.get("stats")
        graphs: int | None = None if counted is None else counted.get("unique_graphs")
        return graphs


def _python_blocks() -> int | None:
    has_gil = getattr(sys, "_is_gil_enabled", None)
    if has_gil is not None and not has_gil():
        return None  # without the GIL the count would have to stop all threads
    return sys.getallocatedblocks()


def _mmap_threshold() -> int | None:
    text = os.environ.get(_THRESHOLD) or os.environ.get("GLIBC_TUNABLES", "").partition(_TUNABLE)[2].partition(":")[0]
    return int(text, 0) if text else None
