"""Where in a program's code its thread is, and whether it can come back from there to where it was.

Frames are noted by their identity: one that was kept would keep the training's objects. An identity that is given out
again is of the same code, or is not taken for it.
"""

from __future__ import annotations

import dis
import sys
from typing import TYPE_CHECKING, NamedTuple

from ._code_loops import loops_of, names_in_broken_off
from ._loop_code import names_a_backward

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import CodeType, FrameType, TracebackType

    from ._code_loops import CodeLoop

_MAX_DEPTH = 200
_CALLS_OF_A_SITE = 3
_ITERATES = ("FOR_ITER", "SEND", "YIELD_FROM")
_OURS = ("phasescope", "torch", "tensorflow", "keras")
_CAN_BE_LEFT = 0x20 | 0x80 | 0x200  # generators and coroutines: a loop in one goes on though its frame is away


class Spot(NamedTuple):
    """A frame, by its identity, and the place in its code where it stands."""

    frame: int
    code: CodeType
    offset: int


class LoopPlace(NamedTuple):
    """A loop in a frame that runs."""

    frame: int
    code: CodeType
    loop: CodeLoop

    def holds(self, stack: Sequence[Spot]) -> bool:
        """Return whether a thread with this stack is still in it."""
        return any(
            spot.frame == self.frame and spot.code is self.code and self.loop.has(spot.offset)
            for spot in reversed(stack)
        )

    def holds_caller(self) -> bool:
        """Return the same of the calling thread, with no stack made for it."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if id(frame) == self.frame and frame.f_code is self.code:
                return self.loop.has(frame.f_lasti)
            frame = frame.f_back
        return False


def stack_here() -> list[Spot]:
    """Return the calling thread's stack, the outermost first, without the calls of ours and a framework's it is in."""
    return stack_of(_callers_own())


def is_here(spot: Spot) -> bool:
    """Return whether the innermost frame of that stack is this one, in the same call: most often it is."""
    frame = _callers_own()
    return frame is not None and id(frame) == spot.frame and frame.f_code is spot.code and frame.f_lasti == spot.offset


def _callers_own() -> FrameType | None:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _OURS:
        frame = frame.f_back
    return frame


def stack_of(frame: FrameType | None) -> list[Spot]:
    """Return the stack of a frame, the outermost first; nothing of one that is too deep to be looked at."""
    spots = []
    while frame is not None:
        spots.append(Spot(id(frame), frame.f_code, frame.f_lasti))
        frame = frame.f_back
        if len(spots) > _MAX_DEPTH:
            return []
    spots.reverse()
    return spots


def stack_in(trace: TracebackType | None) -> list[Spot]:
    """Return the stack on which an exception was raised, as its traceback has it, and the frame that caught it."""
    spots = [] if trace is None else stack_of(trace.tb_frame.f_back)
    while trace is not None:
        spots.append(Spot(id(trace.tb_frame), trace.tb_frame.f_code, trace.tb_lasti))
        trace = trace.tb_next
    return spots


def site_here() -> tuple[tuple[int, int], ...]:
    """Return which call in the code this is, by the function that makes it and those that have called that one.

    Empty if the stack is too deep.
    """
    site = []
    for spot in reversed(stack_here()):
        site.append((id(spot.code), spot.offset))
        if len(site) >= _CALLS_OF_A_SITE and not spot.code.co_flags & _CAN_BE_LEFT:
            break
    return tuple(site)


def path_here() -> int:
    """Return what stands for all the calls that lead here, from the outermost on; 0 if the stack is too deep."""
    return hash(tuple(calls)) if (calls := [(id(spot.code), spot.offset) for spot in stack_here()]) else 0


def is_begun_anew_by_itself() -> bool:
    """Return whether the code that fetches here goes on fetching where a loader ends, and its caller notices nothing.

    That is `next()` by hand, or a generator with a loop around the one over the loader.
    """
    frame = _callers_own()
    if frame is None:
        return False
    code, offset = frame.f_code, frame.f_lasti
    kind = dis.opname[code.co_code[offset]]
    if kind not in _ITERATES:
        return True
    around = sum(loop.has(offset) for loop in loops_of(code))
    return bool(code.co_flags & _CAN_BE_LEFT) and around > (kind != "YIELD_FROM")


def is_for_one_batch() -> bool:
    """Return whether the code that fetches here comes to it once, or breaks its loop off without a training in it."""
    frame = _callers_own()
    if frame is None:
        return False
    if dis.opname[frame.f_code.co_code[frame.f_lasti]] == "FOR_ITER":
        names = names_in_broken_off(frame.f_code, frame.f_lasti)
        return names is not None and not names_a_backward(names, frame.f_globals)
    stack = stack_of(frame)
    return bool(stack) and not any(
        spot.code.co_flags & _CAN_BE_LEFT or any(loop.has(spot.offset) for loop in loops_of(spot.code))
        for spot in reversed(stack)
    )


def has_turned(was: Sequence[Spot], now: Sequence[Spot]) -> bool | None:
    """Return whether a loop has come around between these two, the first in time first; None if they are in none.

    Behind the first in its code is the same turn, also in a loop of its own there.
    """
    is_in_a_loop = False
    for spot, there in zip(was, now, strict=False):
        if spot.frame != there.frame or spot.code is not there.code:
            break
        loops = loops_of(spot.code)
        is_in_a_loop = is_in_a_loop or any(loop.has(spot.offset) and loop.has(there.offset) for loop in loops)
        if spot.offset != there.offset:
            return there.offset < spot.offset if is_in_a_loop else None
    return True if is_in_a_loop else None


def loops_around(one: Sequence[Spot], other: Sequence[Spot]) -> list[LoopPlace]:
    """Return the loops in which both of these stacks lie, the innermost first."""
    return [
        LoopPlace(spot.frame, spot.code, loop)
        for spot, there in reversed(list(_common(one, other)))
        if not spot.code.co_flags & _CAN_BE_LEFT
        for loop in loops_of(spot.code)
        if loop.has(spot.offset) and loop.has(there.offset)
    ]


def is_gone(was: Sequence[Spot], now: Sequence[Spot]) -> bool:
    """Return whether a thread that was there is where it will not come back from, by any loop of a function it is in.

    One that goes on in the same function is not, unless it has left a loop: what follows may belong together.
    """
    common = list(_common(was, now))
    if not common or loops_around(was, now):
        return False
    last = common[-1][0]
    return last is not was[-1] or any(loop.has(last.offset) for loop in loops_of(last.code))


def _common(one: Sequence[Spot], other: Sequence[Spot]) -> Iterator[tuple[Spot, Spot]]:
    """Yield the frames that are in both stacks, as far as they are in the same calls."""
    for spot, there in zip(one, other, strict=False):
        if spot.frame != there.frame or spot.code is not there.code:
            return
        yield spot, there
        if spot.offset != there.offset:
            return
