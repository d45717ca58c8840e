"""The bytes of arrays and variables by device and category, each counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

HOST = "cpu"


class CategorySizes:
    """What was found so far. Each counts once, in the category that it was found for first."""

    def __init__(self) -> None:
        self._sizes: dict[str, dict[str, int]] = {}
        self._float32: dict[str, dict[str, int]] = {}
        self._seen: set[Hashable] = set()
        self._categories: list[str] = []

    def begin(self, category: str) -> None:
        """Note that a category is known from now on: 0 where nothing is of it."""
        if category not in self._categories:
            self._categories.append(category)

    def is_new(self, *keys: Hashable) -> bool:
        """Return whether none of the keys was seen before: each tells the memory of one array from others."""
        is_known = not self._seen.isdisjoint(keys)
        self._seen.update(keys)
        return not is_known

    def add(self, category: str, device: str, size_bytes: int, is_float32: bool) -> None:
        """Count one on a device."""
        sizes = self._sizes.setdefault(device, {})
        sizes[category] = sizes.get(category, 0) + size_bytes
        if is_float32:
            floats = self._float32.setdefault(device, {})
            floats[category] = floats.get(category, 0) + size_bytes

    def found(self) -> dict[str, dict[str, int]]:
        """Return them as `Session.note_categories` takes them."""
        by_device: dict[str, dict[str, int]] = {}
        for device, sizes in self._sizes.items():
            floats = self._float32.get(device, {})
            by_device[device] = {category: sizes.get(category, 0) for category in self._categories}
            by_device[device] |= {f"{category}_float32": floats.get(category, 0) for category in self._categories}
        return by_device
