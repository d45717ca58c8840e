"""Ways to save memory, by the categories that were measured: never by a rule about models in general."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from phasescope.analysis.categories import Categories

_WORTH_NAMING = 0.01
"""A saving of less of all that is held is left out."""


@dataclass(frozen=True)
class Saving:
    """The saving of one change, in bytes: of the fixed part, and of what grows with the batch, at the measured batch.

    `gradient_bytes` of the fixed part are of gradients, which may not be there at the peak.
    `is_most`: no more than that, since a part of it stays that was not measured. `largest_batch` fits then for sure;
    None if that is not known.
    """

    name: str
    text: str
    fixed_bytes: int
    gradient_bytes: int = 0
    growing_bytes: int = 0
    is_most: bool = False
    largest_batch: int | None = None

    @property
    def certain_bytes(self) -> int:
        """The part of the fixed saving that counts at the peak in any case."""
        return self.fixed_bytes - self.gradient_bytes


def savings(look: Categories, ranks: int) -> Iterator[Saving]:
    """Yield what is worth naming, the largest first."""
    total = sum(part.size_bytes for part in look.parts)
    worthy = [one for one in _all(look, ranks) if one.fixed_bytes + one.growing_bytes >= max(1, _WORTH_NAMING * total)]
    yield from sorted(worthy, key=lambda one: one.fixed_bytes + one.growing_bytes, reverse=True)


def _all(look: Categories, ranks: int) -> Iterator[Saving]:
    sizes = {part.name: part.size_bytes for part in look.parts}
    floats = {part.name: part.float32_bytes or 0 for part in look.parts}
    parameters, gradients, state = (floats.get(name, 0) for name in ("parameters", "gradients", "optimizer_state"))
    yield Saving(
        "activation_checkpointing",
        "activation checkpointing: the activations, but for what lies between its parts and those of one part",
        0,
        growing_bytes=sizes.get("activations", 0),
        is_most=True,
    )
    yield Saving(
        "bf16",
        "the model in bf16: half of its float32 weights, gradients and optimizer state",
        (parameters + gradients + state) // 2,
        gradients // 2,
    )
    yield Saving(
        "8_bit_optimizer",
        "an 8-bit optimizer: three quarters of its float32 state, less a little for scales",
        state * 3 // 4,
        is_most=True,
    )
    if ranks > 1:
        yield from _sharded(sizes, ranks)


def _sharded(sizes: Mapping[str, int], ranks: int) -> Iterator[Saving]:
    parameters, gradients, state = (
        size - -(-size // ranks)
        for size in (sizes.get(name, 0) for name in ("parameters", "gradients", "optimizer_state"))
    )
    over = f"sharded over {ranks} ranks"
    yield Saving("shard_state", f"optimizer state {over} (ZeRO-1)", state)
    yield Saving("shard_gradients", f"state and gradients {over} (ZeRO-2)", state + gradients, gradients)
    yield Saving(
        "shard_parameters",
        f"state, gradients and weights {over} (FSDP, ZeRO-3), but for the weights that it gathers to compute",
        parameters + gradients + state,
        gradients,
        is_most=True,
    )
