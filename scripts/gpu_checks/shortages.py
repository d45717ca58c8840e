"""Memory that really runs out: in each part of a step, in pieces, under a limit, and beside another process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import phasescope
from gpu_checks.rows import MIB, Row, Setting, holding_child, lacks, warm_up
from phasescope import phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FULL = 0.92
_PIECE, _SEGMENT = 8 * MIB, 20 * MIB


def in_a_step(setting: Setting) -> Iterator[Row]:
    """Yield the cause that `explain` finds where forward, backward, Adam and attention fill the device."""
    import torch

    warm_up(torch, setting.device)
    for name, fill, needs in STEPS:
        why_not = lacks(torch, *needs)
        if why_not:
            yield Row(f"out of memory in {name}", "", "", None, why_not)
        else:
            yield from _explained(torch, setting, f"out of memory in {name}", fill, ("too_large",))


def _explained(
    torch: Any,
    setting: Setting,
    what: str,
    fill: Callable[[Any, Setting], object],
    kinds: tuple[str, ...],
    load: Callable[[Any, Setting], object] | None = None,
) -> Iterator[Row]:
    raised = ""
    try:  # around the session: an error that is caught within it ended nothing
        with phasescope.start(backends=["cuda"]) as session:
            if load is not None:  # in a phase of its own: a step that fills the device would be the cause itself
                with phase("load"):
                    load(torch, setting)
            with phase("step"):
                fill(torch, setting)
    except torch.OutOfMemoryError as error:
        raised = str(error)
    with session.reader() as reader:
        answer = reader.explain()
        errors = [event for event in reader.events() if event["event_type"] == "error"]
    torch.cuda.empty_cache()
    if not raised:
        yield Row(what, "", "", None, "memory did not run out")
        return
    kind = answer.cause.kind
    yield Row(f"{what}: the cause", kind, " or ".join(kinds), kind in kinds, answer.cause.text[:160])
    told = errors[-1]["metadata"].get("told", {}) if errors else {}
    live = f"{_worded(told.get('allocated_bytes', 0))} is allocated by PyTorch"
    yield Row(f"{what}: what was live", live, "torch's message", live in raised, raised[:200])


def _worded(size: int) -> str:
    """Format a size as torch's message does."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.2f} {name}"
    return f"{size} bytes"


def _room(torch: Any, setting: Setting) -> int:
    return int(torch.cuda.mem_get_info(setting.device)[0])


def _kept(torch: Any, setting: Setting, size: int) -> Any:
    return torch.empty(size, dtype=torch.uint8, device=setting.place)


def _forward(torch: Any, setting: Setting) -> None:
    kept = []
    while True:
        kept.append(_kept(torch, setting, 8 * setting.size_bytes))


def _backward(torch: Any, setting: Setting) -> None:
    side = int((_room(torch, setting) * 0.3 / 4) ** 0.5)
    weight = torch.ones(side, side, device=setting.place, requires_grad=True)
    (weight * 2).sum().backward()
    (weight.exp() * weight.sin()).sum().backward()


def _adam(torch: Any, setting: Setting) -> None:
    side = int((_room(torch, setting) * 0.3 / 4) ** 0.5)
    weight = torch.nn.Parameter(torch.ones(side, side, device=setting.place))
    optimizer = torch.optim.Adam([weight], foreach=True)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    optimizer.step()


def _attention(torch: Any, setting: Setting) -> None:
    length = int((_room(torch, setting) * 0.45 / 4 / 8) ** 0.5)
    query = torch.randn(8, length, 64, device=setting.place)
    torch.softmax(query @ query.transpose(1, 2), dim=-1) @ query


STEPS: tuple[tuple[str, Callable[[Any, Setting], object], tuple[str, ...]], ...] = (
    ("forward", _forward, ()),
    ("backward", _backward, ("ones", "autograd.backward", "cuda.mem_get_info")),
    ("optimizer", _adam, ("nn.Parameter", "optim.Adam", "cuda.mem_get_info")),
    ("attention", _attention, ("randn", "softmax", "cuda.mem_get_info")),
)
"""The parts of a step, and what each needs of torch."""


def in_pieces(setting: Setting) -> Iterator[Row]:
    """Every second block is freed, and one is asked for that is larger than any hole."""
    import torch

    why_not = lacks(torch, "cuda.mem_get_info")
    if why_not:
        yield Row("memory in pieces", "", "", None, why_not)
        return
    warm_up(torch, setting.device)
    is_expandable = "expandable_segments:true" in os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "").lower()

    pieces: list[Any] = []

    def load(torch: Any, setting: Setting) -> None:
        # Below 10 MiB two of them share a segment of 20 MiB, which then cannot be given back.
        pieces[:] = [_kept(torch, setting, _PIECE) for _ in range(int(_FULL * _room(torch, setting) / (_SEGMENT / 2)))]
        del pieces[::2]

    def ask(torch: Any, setting: Setting) -> None:
        size = len(pieces) * _SEGMENT // 2
        _kept(torch, setting, size)

    # An expandable segment is mapped in pages of that size: it does not help here.
    kinds = ("fragmentation", "too_large") if is_expandable else ("fragmentation",)
    yield from _explained(torch, setting, "memory in pieces", ask, kinds, load)
    pieces.clear()


def under_a_limit(setting: Setting) -> Iterator[Row]:
    """Yield the cause where the process may have a fifth of the device."""
    import torch

    why_not = lacks(torch, "cuda.set_per_process_memory_fraction", "cuda.mem_get_info")
    if why_not:
        yield Row("a limit of the process's own", "", "", None, why_not)
        return
    warm_up(torch, setting.device)
    torch.cuda.set_per_process_memory_fraction(0.2, setting.device)
    yield from _explained(torch, setting, "a limit of the process's own", _forward, ("limit_of_device",))


def beside_another(setting: Setting) -> Iterator[Row]:
    """Another process holds a fifth of the device, and then more than half."""
    import torch

    why_not = lacks(torch, "cuda.mem_get_info")
    if why_not:
        yield Row("beside another process", "", "", None, why_not)
        return
    warm_up(torch, setting.device)
    total = torch.cuda.get_device_properties(setting.device).total_memory
    for share in (0.2, 0.6):
        with holding_child(setting.device, int(share * total / MIB)):

            def fill(torch: Any, setting: Setting, share: float = share) -> None:
                free = _room(torch, setting)
                _kept(torch, setting, int(free + 0.5 * share * total))

            what = f"beside another process with {share:.0%}"
            yield from _explained(torch, setting, what, fill, ("other_processes",))
