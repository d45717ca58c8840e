"""Advice that follows from what the memory is made of: the remedy for the largest categories, each with its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import share_text, size_text

if TYPE_CHECKING:
    from phasescope.analysis.categories import Categories

    from .evidence import LastShortage

_MOST = 2
_WORTH_A_LINE = 0.2

_REMEDIES = {
    "activations": "activation checkpointing (torch.utils.checkpoint), or bf16 by autocast: {}, more with each sample",
    "temporary": "a loss or an attention computed in pieces, foreach=False of an optimizer: {} within one phase",
    "optimizer_state": "sharding over the ranks (FSDP, ZeRO), or less state (8-bit: a quarter of float32): {}",
    "parameters": "weights in bf16 (half of float32), adapters (LoRA) on frozen ones, or sharding (FSDP): {}",
    "gradients": "gradients sharded (FSDP, ZeRO-2), or each parameter stepped within the backward pass: {}",
    "inputs": "smaller inputs, or a part of them on the device at a time: {}",
    "buffers": "buffers on the host, or made when they are needed: {}",
    "other": "find who keeps what belongs to no known model or optimizer: {}; outputs and losses in lists, a copy of "
    "the weights, DDP's buckets",
}
_TAKE = {"temporary": "temporary memory takes", "other": "it takes", "optimizer_state": "optimizer state takes"}


def by_category(shortage: LastShortage | None, look: Categories | None) -> list[str]:
    """Return a line for each category that takes much of the device, the largest first."""
    if shortage is None or look is None:
        return []
    sizes = look.at_its_fullest
    total = sum(sizes.values())
    largest = sorted((size, name) for name, size in sizes.items() if size >= _WORTH_A_LINE * total > 0)[::-1]
    return [_line(name, size, total) for size, name in largest[:_MOST]]


def _line(name: str, size: int, total: int) -> str:
    take = _TAKE.get(name, f"{name} take")
    return _REMEDIES[name].format(f"{take} {size_text(size)} of {size_text(total)}, {share_text(size / total)}")
