"""What grew and who keeps it, in words: one wording for every view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import count_text, plural, printable, size_text

from .census import GRAPH, LARGER, SAVED, TRACEBACK, VERSIONS, VIEW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .census import GrownObjects, Keeper

_LEAST_SAVED = 1024
_HOOKS = ("_hooks", "_hooks_with_kwargs")
_BY = {VIEW: "parts of them, each of which keeps the whole", SAVED: "graphs that saved them for a backward pass"}


def grown_text(grown: GrownObjects) -> str:
    """Return what grew and who keeps it: `400 tensors of float32[32, 1000] that carry their graph (48.8 MiB), kept by
    list losses in train.py:41`."""
    keeper = grown.keeper
    if grown.kind == VERSIONS:
        return versions_text(grown)
    if grown.kind == GRAPH:
        saved = f", {size_text(grown.bytes)} of them kept for the backward pass" if grown.bytes else ""
        name = "" if keeper is None else f" of {keeper_text(keeper)}"
        more = f"{grown.per_step:,.0f} more a step" if grown.per_step >= 1 else "and more"
        return f"the graph{name}, which becomes longer: {plural(grown.count, 'operation')}, {more}{saved}"
    if grown.kind == LARGER:
        by = "" if keeper is None else f" {keeper_text(keeper, name_alone=True)}"
        more = f"{size_text(round(grown.per_step))} more a step"
        return f"the {_one_text(grown)}{by}, which becomes larger: {size_text(grown.bytes)}, {more}"
    text = f"{what_text(grown)} ({size_text(grown.bytes * grown.kept // max(1, grown.count))})"
    if keeper is None:
        return text
    text += f", kept by {keeper_text(keeper)}"
    if keeper.through == TRACEBACK:
        variable = f" (`{printable(keeper.through_variable)}`)" if keeper.through_variable else ""
        text += (
            f": by the tracebacks of its exceptions, in variables of `{printable(keeper.through_function)}`{variable}"
        )
    elif keeper.through in _BY:
        text += f": by {_BY[keeper.through]}"
    elif keeper.bound is not None:
        text += f", which has at most {plural(keeper.bound, 'item')}"
    if grown.graph_saved_bytes >= _LEAST_SAVED:
        text += f"; the graph of each keeps {size_text(grown.graph_saved_bytes)} besides"
    return text


def versions_text(grown: GrownObjects) -> str:
    """Return which function was compiled or traced again: ``250 versions of JAX function `f` in train.py:12, which is
    compiled again 1.0 times a step``."""
    done = "traced" if grown.library == "tensorflow" else "compiled"
    often = "at each step" if 0.9 <= grown.per_step < 1.1 else f"about {grown.per_step:.1f} times a step"
    of = "" if grown.keeper is None else f" of {keeper_text(grown.keeper)}"
    return f"{plural(grown.count, 'version')}{of}, which is {done} again {often}, and each is kept"


def keeper_text(keeper: Keeper, *, name_alone: bool = False) -> str:
    """Return who keeps: ``list `losses` in train.py:41``; or, if what it is was said already, without its type."""
    name = f"`{printable(keeper.expression)}`"
    is_said = name_alone or keeper.container in ("Tensor", "Parameter")
    container = "" if is_said else f"{printable(keeper.container)} "
    return f"{container}{name} in {place_text(keeper)}"


def place_text(keeper: Keeper) -> str:
    """Return where: `train.py:41`, or the function and file if the line is not known."""
    file = printable(keeper.file)
    if keeper.line is not None:
        return f"{file}:{keeper.line}"
    return f"{printable(keeper.function)}() of {file}" if keeper.scope == "local" and keeper.function else file


def remedies(grown: GrownObjects) -> Iterator[str]:
    """Yield what to do about it."""
    keeper = grown.keeper
    if keeper is None:
        return
    where = place_text(keeper)
    if grown.kind == VERSIONS:
        yield _against_versions(grown, keeper)
    elif grown.kind == GRAPH:
        if keeper.expression.endswith(".grad"):
            yield (
                "gradients that carry a graph themselves (create_graph=True) must go after each step: "
                "`optimizer.zero_grad(set_to_none=True)`, or torch.autograd.grad in place of backward()"
            )
        else:
            yield f"{where}: detach `{printable(keeper.expression)}` from step to step (`.detach()`, or `loss.item()`)"
    elif grown.kind == LARGER:
        yield (
            f"{where}: `{printable(keeper.expression)}` becomes larger with each step: keep sums or counts instead, or "
            "write each part away; to join it again each time also copies all of it"
        )
    elif keeper.through == TRACEBACK:
        yield f"{where}: keep an exception's text, or `error.with_traceback(None)`: its traceback keeps all variables"
    elif keeper.through == VIEW:
        detached = ".detach()" if grown.graph else ""
        yield f"{where}: keep copies (`{detached}.clone()`): a part of a tensor, such as `x[0]`, keeps all of it"
    elif keeper.expression.endswith(_HOOKS):
        yield f"{where}: hooks are registered again and again: once before the loop, or `handle.remove()` after use"
    elif keeper.container == "lru_cache":
        yield f"{where}: an lru_cache keeps arguments and results: give it a small maxsize, or no tensors"
    elif keeper.bound is not None and not grown.graph:
        full = size_text(grown.bytes // max(1, grown.count) * keeper.bound)
        yield (
            f"{where}: `{printable(keeper.expression)}` may only be filling: its {count_text(keeper.bound)} items are "
            f"about {full}; if that is too much, a smaller bound"
        )
    elif grown.graph:
        yield f"{where}: keep numbers (`.item()`), or `.detach()` what is kept: each carries its whole graph"
    else:
        yield f"{where}: empty `{printable(keeper.expression)}` from time to time, or keep sums instead"


def suspicion(grown: GrownObjects) -> str:
    """Return what to look at first, where it is not known how much of a growth these objects are."""
    keeper, (_, items) = grown.keeper, _noun_and_rest(grown)
    name = "it" if keeper is None else f"`{printable(keeper.expression)}` in {place_text(keeper)}"
    return f"look at {name} first: what a C library holds for its{items} is not counted"


def _against_versions(grown: GrownObjects, keeper: Keeper) -> str:
    """Return what keeps a function from being compiled or traced again."""
    name, where = printable(keeper.expression), "" if keeper.line is None else f"{place_text(keeper)}: "
    if grown.library == "tensorflow":
        return (
            f"{where}give `{name}` tensors in place of Python numbers, of a few shapes (reduce_retracing=True, or an "
            "input_signature): each new one is traced, and kept as long as the function"
        )
    return (
        f"{where}call `{name}` with a few shapes (inputs padded), and with static arguments that do not change: each "
        "new one is compiled and kept; JAX_LOG_COMPILES=1 says why, jax.clear_caches() lets go"
    )


def what_text(grown: GrownObjects) -> str:
    """Return what it is: `400 tensors of float32[32, 1000] that carry their graph`."""
    noun, of = _noun_and_rest(grown)
    return f"{plural(grown.kept, noun)}{of}" if noun else f"{count_text(grown.kept)}{of}"


def _one_text(grown: GrownObjects) -> str:
    """Return what a single object is: `tensor of float32[12800, 4096]`, `BytesIO`."""
    noun, of = _noun_and_rest(grown)
    return f"{noun}{of}" if grown.dtype else printable(grown.of) or "object"


def kind_text(grown: GrownObjects) -> str:
    """Return what it is, however many there are: `tensors of float32[32, 1000] that carry their graph`."""
    noun, of = _noun_and_rest(grown)
    return f"{noun}s{of}" if noun else of.strip()


def _noun_and_rest(grown: GrownObjects) -> tuple[str, str]:
    shape = "" if grown.shape is None else f"[{', '.join(map(str, grown.shape))}]"
    carrying = " that carry their graph" if grown.graph else ""
    if grown.dtype:
        noun = "numpy array" if grown.library == "numpy" else "JAX array" if grown.library == "jax" else "tensor"
        various = " of various shapes" if grown.shape is None else ""
        return noun, f" of {printable(grown.dtype)}{shape}{various}{carrying}"
    return ("", f" {printable(grown.of)} items") if grown.of else ("item", "")
