"""A device's live memory by category: weights, gradients, optimizer state, activations, and the rest.

The training counts its own objects now and then, at the end of a step (`memory.category.*_bytes` of an event). What
is there at that moment adds up to what is allocated then; activations and temporary memory are added in between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .event_fields import is_host, size_or_none
from .formatting import elide, printable, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .devices import DeviceRow

LABELS = {
    "parameters": "parameters",
    "buffers": "buffers",
    "gradients": "gradients",
    "optimizer_state": "optimizer state",
    "inputs": "inputs",
    "other": "other",
    "activations": "activations",
    "temporary": "temporary",
}
"""The categories in the order in which they are listed, and how they are called for a person."""

PASSING = ("activations", "temporary")
"""These come and go within a step; the others are there at its end."""

MOMENTS = {
    "step": "at the end of a step",
    "forward": "at the beginning of a forward",
    "failure": "when memory ran out",
}
"""The moments of a look, and how they are called for a person."""

_PREFIX = "memory.category."
_LOOKS = f"{_PREFIX}looks"
_FLOAT32 = "memory.category_float32."
_MODULES = "memory.modules"
_MOST_MODULES = 64
_NAMED_MODULES = 4
_LONGEST_MODULE = 60
_LONGEST_LABEL = 40
_WORTH_NAMING = 1000
"""A device is left out of the text if another one has this many times as much in its categories."""


@dataclass(frozen=True)
class Category:
    """One category of live memory. The names are the keys of `LABELS`. `float32_bytes` of it are of that type."""

    name: str
    size_bytes: int
    float32_bytes: int | None = None

    @property
    def label(self) -> str:
        """The name as it is shown."""
        return LABELS[self.name]


@dataclass(frozen=True)
class ModulePart:
    """One part of the model: the bytes of `parameters`, `gradients` and `optimizer_state` that are its own, and the
    `activations` that it keeps for the backward pass. What is not known is missing."""

    name: str
    sizes: Mapping[str, int]

    @property
    def size_bytes(self) -> int:
        """All of it."""
        return sum(self.sizes.values())


@dataclass(frozen=True)
class Categories:
    """What a device's live memory was made of at the last look. A category that is missing is not known.

    `parameters`, `buffers`, `gradients`, `optimizer_state` and `inputs` are the bytes of the training's own tensors at
    the end of a step, and `other` is whatever else was allocated then; together they are all of it. `activations` is
    what the forward of that step left for its backward, and `temporary` the most that a phase had beyond both of its
    ends: both were there within the step, on top. Activations are a difference of what was allocated, unless
    `activations_are_exact`: then autograd's own saved tensors were counted. `looks` is the number of looks so far, and
    `looks_ns` their time.

    `moment` is `step` for that, `forward` for the beginning of a forward before any step has ended, and `failure` for a
    look after memory ran out: then `other` has the activations in it, and `since_step_bytes` of it were not there at
    the look before.

    `batch_size` is the number of samples that the model was called with in that step, `batch_elements` the elements of
    all their tensors. `modules` are the largest parts of the model, the largest first, if it was asked to tell them
    apart (`instrument(depth=)`).
    """

    parts: tuple[Category, ...]
    moment: str
    looks: int | None
    looks_ns: int | None
    since_step_bytes: int | None = None
    activations_are_exact: bool = False
    batch_size: int | None = None
    batch_elements: int | None = None
    modules: tuple[ModulePart, ...] = ()

    @property
    def standing(self) -> tuple[Category, ...]:
        """Those that are there at the end of a step."""
        return tuple(part for part in self.parts if part.name not in PASSING)

    @property
    def passing(self) -> tuple[Category, ...]:
        """Those that were there within the step, on top of the others."""
        return tuple(part for part in self.parts if part.name in PASSING)

    @property
    def at_its_fullest(self) -> dict[str, int]:
        """The bytes of each category within a step; what came since the last one counts as activations."""
        sizes = {part.name: part.size_bytes for part in self.parts}
        if self.since_step_bytes is not None:
            sizes["other"] = sizes.get("other", 0) - self.since_step_bytes
            sizes["activations"] = sizes.get("activations", 0) + self.since_step_bytes
        return sizes

    def size_bytes(self, name: str) -> int | None:
        """Return the bytes of one category, None if it is not known."""
        return next((part.size_bytes for part in self.parts if part.name == name), None)


def categories(event: Mapping[str, Any]) -> Categories | None:
    """Return the categories of an event that has them; None if it has none."""
    metadata = event.get("metadata")
    if not isinstance(metadata, dict) or not has_categories(metadata):
        return None
    sizes = ((name, size_or_none(metadata.get(f"{_PREFIX}{name}_bytes"))) for name in LABELS)
    parts = tuple(
        Category(name, size, size_or_none(metadata.get(f"{_FLOAT32}{name}_bytes")))
        for name, size in sizes
        if size is not None
    )
    if not parts:
        return None
    moment = metadata.get(f"{_PREFIX}moment")
    about = ("looks", "looks_ns", "batch_size", "batch_elements")
    looks, looks_ns, size, elements = (size_or_none(metadata.get(f"{_PREFIX}{name}")) for name in about)
    is_exact = metadata.get(f"{_PREFIX}activations_are_exact") is True
    moment = moment if moment in MOMENTS else "step"
    return Categories(
        parts,
        moment,
        looks,
        looks_ns,
        activations_are_exact=is_exact,
        batch_size=size or None,
        batch_elements=elements,
        modules=tuple(_modules_in(metadata.get(_MODULES))),
    )


def _modules_in(sizes_by_module: object) -> Iterator[ModulePart]:
    if not isinstance(sizes_by_module, dict):
        return
    for name, sizes in list(sizes_by_module.items())[:_MOST_MODULES]:
        if isinstance(name, str) and isinstance(sizes, dict):
            known_sizes = {key: size for key in LABELS if (size := size_or_none(sizes.get(key)))}
            if known_sizes:
                yield ModulePart(name, known_sizes)


def compared(now: Categories | None, before: Categories | None) -> Categories | None:
    """Return the categories of a look after memory ran out, with what has come since the look before."""
    if now is None or before is None or now.moment != "failure":
        return now
    other, stood = now.size_bytes("other"), before.size_bytes("other")
    return now if other is None or stood is None else replace(now, since_step_bytes=max(0, other - stood))


def has_categories(metadata: Mapping[str, Any]) -> bool:
    """Return whether an event's metadata has any."""
    return _LOOKS in metadata


def made_of(devices: Iterable[DeviceRow]) -> Iterator[str]:
    """Yield `cuda:0 at the end of a step: parameters 6.0 GiB, …; within a step also activations 20.1 GiB` of each."""
    rows = [(row, row.categories) for row in devices if row.categories is not None]
    sizes = [sum(part.size_bytes for part in look.parts) for _, look in rows]
    for (row, look), size in zip(rows, sizes, strict=True):
        if size * _WORTH_NAMING >= max(sizes):
            yield _line(row, look)
            if look.modules:
                yield _by_module(row, look.modules)


def in_short(look: Categories) -> str:
    """Return `optimizer state 10.0 GiB, parameters 5.02 GiB, …`: the largest first, for where there is little room."""
    return _listed(sorted(look.parts, key=lambda part: part.size_bytes, reverse=True))


def _line(row: DeviceRow, look: Categories) -> str:
    is_of_host = is_host(row.backend, row.device_id)
    whose = "the training's tensors on the host" if is_of_host else elide(printable(row.label), _LONGEST_LABEL)
    passing = _listed(look.passing)
    more = f"; within a step also {passing}" if passing else ""
    if look.since_step_bytes:
        more = f", {size_text(look.since_step_bytes)} of it since the last step"
    return f"{whose} {MOMENTS[look.moment]}: {_listed(look.standing) or 'nothing'}{more}"


def _by_module(row: DeviceRow, modules: Sequence[ModulePart]) -> str:
    """Return `by module on cuda:0: encoder.0 keeps 1.30 GiB for backward, parameters 9.00 MiB, …; … and 8 more`."""
    named = "; ".join(_module(module) for module in modules[:_NAMED_MODULES])
    more = len(modules) - _NAMED_MODULES
    where = elide(printable(row.label), _LONGEST_LABEL)
    return f"by module on {where}, the largest first: {named}{f'; and {more} more' if more > 0 else ''}"


def _module(module: ModulePart) -> str:
    name = elide(printable(module.name or "the model itself"), _LONGEST_MODULE)
    kept = module.sizes.get("activations")
    has = ", ".join(f"{LABELS[key]} {size_text(size)}" for key, size in module.sizes.items() if key != "activations")
    if kept is None:
        return f"{name} has {has}"
    return f"{name} keeps {size_text(kept)} for backward{f', has {has}' if has else ''}"


def _listed(parts: Iterable[Category]) -> str:
    return ", ".join(f"{part.label} {size_text(part.size_bytes)}" for part in parts if part.size_bytes)
