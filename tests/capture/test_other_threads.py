"""Other threads are looked at in one go: nothing of the training's runs meanwhile, and none of its objects is kept."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from phasescope import _native
from phasescope.capture import other_threads
from phasescope.capture.other_threads import frame_and_callers, frames_of_threads, stacks_of_threads
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(bool(other_threads.why_not()), reason=other_threads.why_not())


class Value:
    """Something of the training's."""


class Waiting:
    """A thread that waits `depth` calls deep, or while it handles an exception that was raised as deep."""

    def __init__(self, depth: int, raises: bool = False) -> None:
        self._is_there = threading.Event()
        self._may_go = threading.Event()
        self._thread = threading.Thread(target=self._handle if raises else self._descend, args=(depth,))
        self.value: weakref.ref[Value] | None = None

    def __enter__(self) -> int:
        self._thread.start()
        assert self._is_there.wait(CEILING_S)
        assert self._thread.ident is not None
        return self._thread.ident

    def __exit__(self, *_: object) -> None:
        self._may_go.set()
        self._thread.join()

    def _descend(self, depth: int) -> None:
        if depth:
            self._descend(depth - 1)
            return
        kept = Value()
        self.value = weakref.ref(kept)
        self._wait()

    def _wait(self) -> None:
        self._is_there.set()
        assert self._may_go.wait(CEILING_S)

    def _handle(self, depth: int) -> None:
        try:
            self._raise(depth)
        except ValueError:
            self._wait()

    def _raise(self, depth: int) -> None:
        if depth:
            self._raise(depth - 1)
        raise ValueError


def names(spots: list[Any]) -> list[str]:
    """Return the functions of this file, the outermost first."""
    return [code.co_name for _, code, _ in spots if code.co_filename == __file__]


def test_a_stack_is_told_from_the_outside_in() -> None:
    with Waiting(3) as thread:
        stacks = stacks_of_threads({thread})
        now, raised = stacks[thread]
        (frames,) = (each for ident, each in frames_of_threads().items() if ident == thread)
    assert (set(stacks), names(now), raised) == ({thread}, ["_descend"] * 4 + ["_wait"], [])
    assert [(id(frame), frame.f_code) for frame in reversed(frames)] == [spot[:2] for spot in now]


def test_its_offsets_are_those_of_its_frames() -> None:
    with Waiting(1) as thread:
        (now, _) = stacks_of_threads({thread})[thread]
        offsets = [frame.f_lasti for frame in reversed(frames_of_threads()[thread])]
    assert [offset for _, _, offset in now] == offsets
    assert all(offset >= 0 for offset in offsets)


def test_an_exception_that_is_handled_is_told_by_where_it_was_raised() -> None:
    with Waiting(2, raises=True) as thread:
        now, raised = stacks_of_threads({thread})[thread]
    assert names(now) == ["_handle", "_wait"]
    assert names(raised) == ["_handle"] + ["_raise"] * 3
    assert raised[0] == now[0]  # what a thread begins with, as far as the frame that caught it


def test_the_calling_thread_is_one_of_them() -> None:
    own = threading.get_ident()
    assert names(stacks_of_threads({own})[own][0])[-1] == "test_the_calling_thread_is_one_of_them"
    assert frames_of_threads()[own][-1] is frame_and_callers(sys._getframe())[-1]


def test_nothing_is_said_of_a_stack_that_is_too_deep() -> None:
    with Waiting(300) as thread:
        assert stacks_of_threads({thread}) == {thread: ([], [])}
        assert len(frames_of_threads()[thread]) > 300


def test_nothing_is_said_of_a_thread_that_has_ended() -> None:
    with Waiting(0) as thread:
        pass
    assert stacks_of_threads({thread}) == {}


def test_what_a_thread_had_is_not_kept() -> None:
    waiting = Waiting(5)
    with waiting as thread:
        stacks = stacks_of_threads({thread})
    assert waiting.value is not None
    assert waiting.value() is None, "a stack keeps what the functions had"
    assert names(stacks[thread][0])[-1] == "_wait"


class Finalized:
    """Garbage that only the collector finds."""

    ran = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Finalized.ran += 1


def looks_and_finalizers(threads: set[int]) -> Iterator[tuple[Any, int]]:
    """Yield what a look at these threads gives, and how many finalizers had run when it was over.

    Both come of one instruction, and no object is made for it: since Python 3.12 the collector runs between two.
    """
    look = partial(_native.core.thread_stacks, threads)
    return zip(iter(look, None), iter(partial(getattr, Finalized, "ran"), None), strict=True)


@pytest.mark.skipif(_native.core is None, reason="from Python it is safe where the collector runs between instructions")
def test_no_finalizer_runs_during_a_look() -> None:
    """Or it lets the thread go on that is looked at, whose frames are then gone: on Python 3.11 that can crash."""
    thresholds = gc.get_threshold()
    with Waiting(60) as thread:
        looks = looks_and_finalizers({thread})
        gc.disable()
        try:
            Finalized()
            Finalized.ran = 0
            gc.set_threshold(1)
            [{} for _ in range(9)]  # the dict of the answers is one of these again, or it would run the collector
            gc.enable()  # from here on, each object that is made may run the collector
            stacks, ran = next(looks)
            gc.collect()
        finally:
            gc.set_threshold(*thresholds)
            gc.enable()
    assert (ran, Finalized.ran) == (0, 1)
    assert len(stacks[thread][0]) > 60


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        stacks_of_threads({threading.get_ident()})
        frames_of_threads()
        assert not gc.isenabled()
    finally:
        gc.enable()
