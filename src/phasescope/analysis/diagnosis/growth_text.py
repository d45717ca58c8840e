"""In which phase it is that memory stays which grows, in words: as surely as the figures tell it, and no more so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import change_text, path_text, plural

from .growth import HOST, WORKERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .few_looks import Unjudged
    from .growth import Growth


_MOST_PIDS = 4


def where_it_stays(growth: Growth) -> str:
    """The end of a sentence that says that it grows. On the host it only shows in a phase: what one frees is what
    another gets, and then that one does not grow."""
    if growth.device == WORKERS:
        return _of_children(growth)
    if not growth.retained_bytes:
        return ""
    if growth.device != "host":
        if growth.outside and growth.per is not None:
            return f", between one entry of {path_text(growth.per)} and the next"
        return f", and stays in {names(growth.phases)}" if growth.phases else ", outside of phases or by turns"
    if len(growth.phases) == 1:
        return f". It shows in {names(growth.phases)}, but which phase keeps it is not clear"
    around = enclosing(growth.phases)
    shows = f": it shows in several of {path_text(around)}" if around else ""
    return f". Which phase keeps it, or whether one does, is not clear{shows}"


def called(growth: Growth) -> str:
    """Whose memory it is, in the middle of a sentence. Only a DataLoader's are data workers; what else is below a
    training may be anything: compilers, launchers, programs of the user's."""
    if growth.device == HOST:
        return "the process's memory on the host"
    if growth.device != WORKERS:
        return f"memory on {growth.device}"
    is_loaders = growth.children is not None and growth.children.are_data_workers
    return "the memory of its data workers" if is_loaders else "the memory of its child processes"


def too_noisy(found: Sequence[Growth]) -> Growth | None:
    """The one that may grow and varies too much to tell: of several the fastest. Workers have words of their own."""
    unclear = [growth for growth in found if growth.unclear and growth.device != WORKERS]
    return max(unclear, key=lambda growth: growth.bytes_per_step, default=None)


def not_known_of_workers(found: Unjudged | None) -> str:
    """The end of a sentence that says that nothing else grows: empty where that goes for the data workers too."""
    if found is None:
        return ""
    return (
        f"; whether its {plural(found.workers, 'data worker')} grow{'s' if found.workers == 1 else ''} is not known: "
        f"looked at {plural(found.looks, 'time')}, and {change_text(found.risen_bytes)} since started"
    )


def _of_children(growth: Growth) -> str:
    """Which of them it is."""
    found = growth.children
    if found is None or not growth.grows:
        return ""
    if found.left_behind:
        return (
            f": {found.alive} are there, started at {found.starts} different times, and none of them has ended: "
            "they are left behind"
        )
    which = ", ".join(map(str, found.growing[:_MOST_PIDS])) + (", …" if len(found.growing) > _MOST_PIDS else "")
    return f": {len(found.growing)} of {found.alive} (pid {which})" if found.growing else ""


def names(paths: Sequence[Sequence[str]]) -> str:
    """`forward`, or where only several together keep something: `forward to backward`."""
    first, last = path_text(paths[0]), path_text(paths[-1])
    return first if len(paths) == 1 else f"{first} to {last} together"


def enclosing(paths: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The innermost phase that is around all of these, or is one of them; empty where there is none."""
    common: list[str] = []
    for names_at in zip(*paths, strict=False):
        if len(set(names_at)) > 1:
            break
        common.append(names_at[0])
    return tuple(common)


def keeping(growth: Growth) -> tuple[str, ...]:
    """Of the phases that account for a growth the one that keeps most by itself; empty where none keeps anything."""
    kept = {path: size for path, size in growth.retained_bytes if path in growth.phases and size > 0}
    return min(kept, key=lambda path: (-kept[path], path), default=())


def suspects(growth: Growth) -> str:
    """Where to look, for a person. On the host that is the phase around the one in which it shows, and the loop."""
    if growth.device != "host":
        found = keeping(growth)
        return path_text(found) if found else "the loop, outside of any phase,"
    shows = enclosing(growth.phases)
    around = shows[:-1] if len(growth.phases) == 1 else shows
    if not growth.retained_bytes and growth.per is not None:
        return f"all of {path_text(growth.per)}, and around it,"
    if not around:
        return "all of the loop, in its phases and between them,"
    alone = f" not in {path_text(shows)} alone," if shows != around else ""
    return f"all of {path_text(around)}, and around it,{alone}"
