"""The phase in which growing memory stays, in words: as surely as the figures show it, and no more so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import change_text, count_text, elide, path_text, plural
from phasescope.analysis.statistics.trend import SURE_STEPS

from .growth import HOST, WORKERS
from .kept_memory import enclosing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .few_looks import Unjudged
    from .growth import Growth


_MOST_PIDS = 4
_LONGEST_PATH = 60


def where_it_stays(growth: Growth) -> str:
    """Return the end of a sentence that says that memory grows.

    On the host growth only shows in a phase: memory that one frees another gets, and then that one does not grow.
    """
    if growth.device == WORKERS:
        return _of_children(growth)
    if not growth.retained_bytes:
        return ""
    if growth.device != "host":
        if growth.outside and growth.per is not None and not growth.rare:
            return f", between one entry of {path_text(growth.per)} and the next"
        return f", and is retained {_within(growth.phases)}" if growth.phases else ", outside of phases or by turns"
    if not growth.phases:
        return ". Which phase keeps it, or whether one does, is not clear"
    around = enclosing(growth.phases) if len(growth.phases) > 1 else ()
    which = f"which phase of {path_text(around)}" if around else "which phase"
    return f". It shows {_within(growth.phases)}, but {which} keeps it is not clear"


def span(growth: Growth) -> str:
    """Say how many entries or samples a rate is of: it is that of the recent half."""
    if growth.recent_steps >= growth.steps:
        return f"over {count_text(growth.steps)} of them"
    return f"over the last {count_text(growth.recent_steps)} of {count_text(growth.steps)}"


def not_known_because(growth: Growth) -> str:
    """Return why it cannot be told whether memory grows, where that is unclear, and what will tell."""
    rate, low, high = (
        change_text(round(rate))
        for rate in (growth.bytes_per_step, growth.low_bytes_per_step, growth.high_bytes_per_step)
    )
    step = elide(path_text(growth.per), _LONGEST_PATH) if growth.per else "sample"
    if growth.rare:
        each = f"{rate} at each of {count_text(growth.recent_steps)} entries of {step}"
        return f"too few to tell ({growth.device}: {each}); more will tell"
    if growth.trained:
        return (
            f"its gradients and optimizer state rose by as much ({growth.device}: {rate} per {step}), as they do while "
            "more of the parameters come to be trained; more steps will tell"
        )
    if growth.few:
        count = f"{count_text(growth.steps)} of the {SURE_STEPS} needed"
        return f"too few to tell a leak from a cache that fills ({growth.device}: {rate} per {step}, {count})"
    if growth.little:
        return f"too little, in too short a time, to tell ({growth.device}: {rate} per {step}); more steps will tell"
    return f"too noisy to tell ({growth.device}: between {low} and {high} per {step}); more steps will tell"


def called(growth: Growth) -> str:
    """Name the memory, in the middle of a sentence.

    Only a DataLoader's children are data workers; other processes below a training may be anything: compilers,
    launchers, programs of the user's.
    """
    if growth.device == HOST:
        return "the process's memory on the host"
    if growth.device != WORKERS:
        return f"memory on {growth.device}"
    is_loaders = growth.children is not None and growth.children.are_data_workers
    return "the memory of its data workers" if is_loaders else "the memory of its child processes"


def most_unclear(growths: Sequence[Growth]) -> Growth | None:
    """Return the growth that may be one, and it is not known: of several the fastest. Workers are left out."""
    unclear = [growth for growth in growths if growth.unclear and growth.device != WORKERS]
    return max(unclear, key=lambda growth: growth.bytes_per_step, default=None)


def not_known_of_workers(unjudged: Unjudged | None) -> str:
    """Return the end of a sentence that says that nothing else grows: empty if that includes the children."""
    if unjudged is None:
        return ""
    copied = ", copies of pages that they had shared" if unjudged.copy_pages else ""
    are_one = unjudged.workers == 1
    other = "1 child process" if are_one else f"{count_text(unjudged.workers)} child processes"
    who = plural(unjudged.workers, "data worker") if unjudged.are_data_workers else other
    took = change_text(unjudged.risen_bytes).removeprefix("+")
    return (
        f"; whether its {who} {'grows' if are_one else 'grow'} is not known: "
        f"{took} more since the start{copied}, seen in {plural(unjudged.looks, 'look')}, "
        "too few to tell a leak from a cache that fills; a longer run will tell"
    )


def _of_children(growth: Growth) -> str:
    """Say which of the children grow."""
    children = growth.children
    if children is None or not growth.grows:
        return ""
    if children.left_behind:
        return (
            f": {children.alive} are there, started at {children.starts} different times, and none of them has ended: "
            "they are left behind"
        )
    which = ", ".join(map(str, children.growing[:_MOST_PIDS])) + (", …" if len(children.growing) > _MOST_PIDS else "")
    how = ", by copying pages that they had shared, since their resident sets stay" if children.copy_pages else ""
    if children.new_memory:
        how = ", by what they keep themselves, no copies of shared pages, since their resident sets rise with it"
    return f": {len(children.growing)} of {children.alive} (pid {which}){how}" if children.growing else ""


def names(paths: Sequence[Sequence[str]]) -> str:
    """Name the phases: `forward`, or `forward … backward` for a row of them that keeps something only together."""
    first, last = path_text(paths[0]), path_text(paths[-1])
    return first if len(paths) == 1 else f"{first} … {last}"


def _within(paths: Sequence[Sequence[str]]) -> str:
    return f"{'in' if len(paths) == 1 else 'across'} {names(paths)}"


def keeping(growth: Growth) -> tuple[str, ...]:
    """Return the phase that keeps most by itself, of those that account for a growth; empty if none keeps anything."""
    kept = {path: size for path, size in growth.retained_bytes if path in growth.phases and size > 0}
    return min(kept, key=lambda path: (-kept[path], path), default=())


def suspects(growth: Growth) -> str:
    """Name the place to look at. On the host that is the phase around the one in which it shows, and the loop."""
    if growth.device != "host":
        keeper = keeping(growth)
        return path_text(keeper) if keeper else "the loop, outside of any phase,"
    shows = enclosing(growth.phases)
    around = shows[:-1] if len(growth.phases) == 1 else shows
    if not growth.retained_bytes and growth.per is not None:
        return f"all of {path_text(growth.per)}, and around it,"
    if not around:
        return "all of the loop, in its phases and between them,"
    alone = f" not in {path_text(shows)} alone," if shows != around else ""
    return f"all of {path_text(around)}, and around it,{alone}"
