"""torch's own record of what was allocated where, for `start(oom_snapshot=...)`: recorded all along, written on demand.

The files open in the viewer at pytorch.org/memory_viz. What is called here is private in torch, so each part is used
only where this version has it.
"""

from __future__ import annotations

import threading
from typing import Any

MAX_ENTRIES = 20_000
"""Allocations and frees that torch keeps, the newest: some kilobytes each, once they are written."""


class History:
    """The record of one process, over all devices of `torch.cuda`."""

    def __init__(self, memory: Any, core: Any) -> None:
        """Use `torch.cuda.memory` and `torch._C`."""
        self._memory = memory
        self._core = core
        self._ours = False
        self._labelled = threading.local()

    def begin(self) -> None:
        """Record from now on, unless the training does so already: then it goes on as the training has it.

        Raises NotImplementedError if this torch cannot.
        """
        record = getattr(self._memory, "_record_memory_history", None)
        if record is None or not hasattr(self._memory, "_dump_snapshot"):
            raise NotImplementedError("this version of torch records no allocations")
        if not self._is_on():
            record(max_entries=MAX_ENTRIES, stacks="python")
            self._ours = True

    def begin_lines(self) -> None:
        """Record from now on by which lines what is live was allocated, and no history, unless either is on already.

        Raises NotImplementedError if this torch cannot.
        """
        record = getattr(self._memory, "_record_memory_history", None)
        if record is None:
            raise NotImplementedError("this version of torch records no allocations")
        if not self._is_on():
            try:
                record(enabled="state", context="state", stacks="python")
            except TypeError as error:  # torch before 2.1
                raise NotImplementedError("this version of torch has no record without a history") from error
            self._ours = True

    def _is_on(self) -> bool:
        is_enabled = getattr(self._core, "_cuda_isHistoryEnabled", None)
        return is_enabled is not None and bool(is_enabled())

    def label(self, text: str) -> None:
        """Label the calling thread's allocations in the record from now on, where torch has labels.

        torch keeps the label by thread, for all devices: what autograd's own threads allocate in a backward pass has
        none. One that the training has set itself is left alone.
        """
        label = getattr(self._core, "_cuda_setMemoryMetadata", None)
        if label is None:
            return
        current = getattr(self._core, "_cuda_getMemoryMetadata", str)()
        if current and current != getattr(self._labelled, "text", ""):
            return
        label(text)
        self._labelled.text = text

    def write(self, path: str) -> None:
        """Write the record, and what is allocated now, to a file."""
        self._memory._dump_snapshot(path)

    def end(self) -> None:
        """Record no more, if it was begun here, and leave no label in the calling thread."""
        if getattr(self._labelled, "text", ""):
            self.label("")
        if self._ours:
            self._ours = False
            self._memory._record_memory_history(None)
