"""torch's own record of what was allocated where, for `start(oom_snapshot=...)`: recorded all along, written on demand.

The files open in the viewer at pytorch.org/memory_viz. What is called here is private in torch, so each part is used
only where this version has it.
"""

from __future__ import annotations

from typing import Any

MAX_ENTRIES = 20_000
"""Allocations and frees that torch keeps, the newest: some kilobytes each, once they are written."""


class History:
    """The record of one process, over all devices of `torch.cuda`."""

    def __init__(self, memory: Any, core: Any) -> None:
        """`torch.cuda.memory` and `torch._C`."""
        self._memory = memory
        self._core = core
        self._ours = False

    def begin(self) -> None:
        """Record from now on, unless the training does so already: then it goes on as the training has it.

        Raises NotImplementedError where this torch can not.
        """
        record = getattr(self._memory, "_record_memory_history", None)
        if record is None or not hasattr(self._memory, "_dump_snapshot"):
            raise NotImplementedError("this version of torch records no allocations")
        is_enabled = getattr(self._core, "_cuda_isHistoryEnabled", None)
        if is_enabled is None or not is_enabled():
            record(max_entries=MAX_ENTRIES, stacks="python")
            self._ours = True

    def label(self, text: str) -> None:
        """What the calling thread allocates from now on is called so in the record, where torch has labels."""
        label = getattr(self._core, "_cuda_setMemoryMetadata", None)
        if label is not None:
            label(text)

    def write(self, path: str) -> None:
        """Write the record, and what is allocated now, to a file."""
        self._memory._dump_snapshot(path)

    def end(self) -> None:
        """Record no more, if it was begun here."""
        if self._ours:
            self._ours = False
            self._memory._record_memory_history(None)
