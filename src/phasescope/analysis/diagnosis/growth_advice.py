"""Possible keepers of memory that grows from step to step, and how to find them.

Those that are seen, else those that are possible: the commonest first, and as not known for certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import count_text, path_text
from phasescope.analysis.steps import is_evaluation

from .growth_text import suspects
from .library_counts import (
    BLOCKS,
    COMPILED,
    FEWEST_NEW,
    FIGURES,
    TRACED,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .growth import Growth
    from .library_counts import Seen
    from .open_phase_rise import Rise

_HOST = "host"
_BYTES_PER_BLOCK = 64
_SMALL_SHARE = 0.3  # of the growth, that small objects account for
_NUMBERS_OF_TORCH = "keep numbers, not tensors: `loss.item()` or `loss.detach()`, else each one keeps its whole graph"
_PREDICT = "predict"
_AGAIN_BY_KERAS = "; a Keras model that is made again is traced again: keras.utils.clear_session() before it"
_TENSORS = ("torch", "tensorflow", "keras", "jax")


def keepers(growth: Growth, seen: Seen, rises: Sequence[Rise] = (), *, is_compiling_told: bool = False) -> list[str]:
    """Return lines of advice, the likeliest first. `rises` are of phases that are open, or were at the end;
    `is_compiling_told`: it is said already which function is compiled again and again."""
    seen_keepers, where = list(_seen(seen)), suspects(growth)
    if seen_keepers:
        return [*seen_keepers, f"look for where that comes from in {where.rstrip(',')}"]
    if _is_small(growth, seen):
        return [
            f"look in {where} for lists and dicts of small Python objects: by their number those may be most of it",
            "tracemalloc shows which line makes them",
        ]
    if growth.per == (_PREDICT,) and "keras" in (seen.libraries or ()):
        return [
            "call the model itself in a loop, `model(batch, training=False)`: Keras' `predict` makes its data pipeline "
            "again at each call",
            f"look in {where} for lists of predictions: keep sums and counts instead, or write each batch away",
            *_finding(growth, seen),
        ]
    evaluation = next((rise for rise in rises if is_evaluation(rise.path) and _is_behind(rise, growth)), None)
    if evaluation is not None or is_evaluation(growth.per or ()):
        within = where if evaluation is None else f"all of {path_text(evaluation.path)}, and around it,"
        gathered = _gathered(within, growth.device, seen)
        return [*(_kept_by_each(within, gathered) if growth.rare else gathered), *_finding(growth, seen)]
    if growth.rare and growth.per:
        return [_kept_now_and_then(growth, seen), *_finding(growth, seen)]
    lines = [f"look in {where} for objects kept from step to step: {_possible(growth, seen)}"]
    others = any(library in (seen.libraries or ()) for library in _TENSORS)
    if others or seen.libraries is None or growth.device != _HOST:
        is_torch = seen.has("torch") or not others
        lines.append(_NUMBERS_OF_TORCH if is_torch else "keep numbers, not tensors: `float(loss)`")
    if growth.device == _HOST and "jax" in (seen.libraries or ()) and not is_compiling_told:
        lines.append(
            "JAX compiles again for each shape and keeps it all: JAX_LOG_COMPILES=1 shows it; inputs padded to a few "
            "shapes, or jax.clear_caches() now and then"
        )
    return [*lines, *_finding(growth, seen)]


def _kept_by_each(where: str, gathered: Sequence[str]) -> list[str]:
    """Return the advice on what an evaluation gathers, where each of them leaves it behind."""
    return [
        f"look in {where} for what outlives it: outputs, predictions or losses in a list made outside of it that "
        "nobody clears; keep sums and counts instead",
        *gathered[1:],
    ]


def _kept_now_and_then(growth: Growth, seen: Seen) -> str:
    """Return the advice on memory that is kept once an entry of a phase that is rarer than the steps."""
    kept = ["copies of the weights (`copy.deepcopy(model.state_dict())`)", "outputs of an evaluation", "histories"]
    kept += ["figures that stay open"] if seen.has("matplotlib") and FIGURES not in seen.counts else []
    kept += ["iterators and workers of a loader that is made again"]
    per = path_text(growth.per or ())
    return (
        f"it grows with each {per}, not with each step: look there for what is done that often, and kept: "
        f"{', '.join(kept)}; which of these it is is not known"
    )


def _is_behind(rise: Rise, growth: Growth) -> bool:
    """Return whether the open phase took most of the growth."""
    return rise.rises and rise.device == growth.device and rise.risen_bytes >= growth.bytes_per_step * growth.steps / 2


def _possible(growth: Growth, seen: Seen) -> str:
    kept = ["losses, outputs and hidden states with their graphs", "batches", "cached results"]
    kept += ["what hooks store"] if seen.has("torch") else []
    kept += ["metrics' states that are never reset"] if seen.has("torchmetrics") or seen.has("keras") else []
    kept += ["outputs that an autograd.Function has on its ctx (ctx.save_for_backward)"] if seen.has("torch") else []
    if growth.device == _HOST:
        kept += ["oneDNN's kernels, one for each shape (the first thousand stay)"] if seen.has("torch") else []
        kept += ["figures that stay open"] if seen.has("matplotlib") and FIGURES not in seen.counts else []
        kept += ["functions compiled or traced again"] if _may_compile(seen) else []
        kept += ["models made again (keras.utils.clear_session())"] if seen.has("keras") else []
        kept += ["queues that fill faster than they are emptied", "exceptions with their tracebacks"]
    kept += ["or nothing is kept and inputs become larger from step to step"]
    return f"{', '.join(kept)}; which of these it is is not known"


def gatherers(rise: Rise, seen: Seen) -> list[str]:
    """Return the advice for a phase that gathers for as long as it runs."""
    return _gathered(path_text(rise.path), rise.device, seen)


def _gathered(where: str, device: str, seen: Seen) -> list[str]:
    lines = [
        f"look in {where} for what it gathers: outputs, logits or predictions of all batches in a list; keep sums and "
        "counts instead, or write each batch away"
    ]
    on_host = device == _HOST
    if seen.has("transformers"):
        moves = "`batch_eval_metrics=True`" if on_host else "`eval_accumulation_steps`, which moves it to the host"
        lines.append(
            "with transformers' Trainer, which gathers logits: `preprocess_logits_for_metrics` (their argmax alone), "
            f"`prediction_loss_only`, or {moves}"
        )
    if not on_host:
        lines.append("results of a batch to the host, without their graph: `.detach().cpu()`, under torch.no_grad()")
    if seen.has("torchmetrics"):
        lines.append(
            "metrics that keep every prediction until they are computed (AUROC, CatMetric): with thresholds=..."
        )
    return lines


def _seen(seen: Seen) -> Iterator[str]:
    """Yield advice on each count that rises."""
    if _rises(seen, FIGURES):
        count = count_text(seen.counts[FIGURES].last)
        yield f"matplotlib has {count} figures open, and ever more: `plt.close(figure)` once one is saved or shown"
    if _rises(seen, TRACED):
        yield (
            f"TensorFlow has traced {count_text(seen.counts[TRACED].last)} functions, and goes on: one for each new "
            "Python number, shape, or tf.function made in the loop; give it tensors, an input_signature or "
            f"reduce_retracing=True, and make it once{_AGAIN_BY_KERAS if 'keras' in (seen.libraries or ()) else ''}"
        )
    if _rises(seen, COMPILED):
        yield (
            f"torch has compiled {count_text(seen.counts[COMPILED].last)} graphs, and goes on: TORCH_LOGS=recompiles "
            "says why; torch.compile(dynamic=True), or inputs padded to a few shapes"
        )


def _rises(seen: Seen, name: str) -> bool:
    count = seen.counts.get(name)
    return count is not None and count.lately >= FEWEST_NEW


def _may_compile(seen: Seen) -> bool:
    """Return whether JAX or TensorFlow may compile.

    Nobody counts JAX's; TensorFlow does not if it is counted and its count does not rise.
    """
    return seen.has("jax") or (seen.has("tensorflow") and TRACED not in seen.counts)


def _finding(growth: Growth, seen: Seen) -> Iterator[str]:
    """Yield how to find the line: tracemalloc sees what Python and numpy allocate, but no tensors."""
    if growth.device != _HOST:
        return
    if any(seen.has(library) for library in _TENSORS):
        yield (
            "tracemalloc shows the Python line of lists, bytes and numpy arrays, but no tensors: if nothing grows "
            "there, it is tensors or a C library"
        )
    else:
        yield "tracemalloc shows which Python line holds it; what grows without showing there is in a C library"
    if seen.mmap_threshold_bytes is None:
        yield (
            "to see which phase it is, run with MALLOC_MMAP_THRESHOLD_=65536 (glibc): freed memory then goes back at "
            "once, and no phase grows in another's place; growth that is gone with it was memory that the C library "
            "keeps (malloc_trim, MALLOC_ARENA_MAX)"
        )


def _is_small(growth: Growth, seen: Seen) -> bool:
    blocks = seen.counts.get(BLOCKS)
    if growth.device != _HOST or blocks is None or not blocks.hours or not growth.bytes_per_hour:
        return False
    return blocks.lately * _BYTES_PER_BLOCK / blocks.hours >= _SMALL_SHARE * growth.bytes_per_hour
