"""The loops of `phasescope run`: one for each thread, whichever frameworks it trains and fetches with."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref

import phasescope

from ._loop_ends import ask_in, forget_others
from ._loop_optimizers import Optimizers
from ._loops import Loop
from ._scopes import FitSession


class _LoopOfThread(threading.local):
    session_id: str | None = None

    def __init__(self) -> None:
        self.loop = loops.made()


class Loops:
    """The loops of all threads, and the optimizers of all of them."""

    def __init__(self) -> None:
        self.optimizers = Optimizers()
        self.are_there = True
        """Whether there are loops at all: a script with phases of its own has none of ours around them."""

        self._all: weakref.WeakValueDictionary[int, Loop] = weakref.WeakValueDictionary()
        self._has_begun = False

    def begin(self) -> bool:
        """Have the loops end with the script. Return whether they have not begun before."""
        if self._has_begun:
            return False
        self._has_begun = True
        FitSession.before_any.append(self.leave)
        atexit.register(self._leave_those_of_threads)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.begin_anew)
        return True

    def are_silent(self) -> bool:
        """Return whether nothing is to be marked: no session runs, or a framework's fit does."""
        if FitSession.is_any_open():
            return True
        return phasescope.current() is None and not FitSession.waits()

    def made(self) -> Loop:
        """Return a new loop, of the calling thread."""
        loop = Loop(self.optimizers)
        self._all[id(loop)] = loop
        return loop

    @property
    def latest(self) -> Loop:
        """The loop of the calling thread, as of the last call that was marked."""
        return _here.loop

    def current(self) -> Loop:
        """Return the loop of the calling thread. In another session than the last time nothing of it is open."""
        session = phasescope.current()
        session_id = None if session is None else session.session_id
        if _here.session_id != session_id:
            if _here.session_id is not None or not _here.loop.is_in_session():  # else it began with the open phases
                _here.loop.leave_all(None)
            _here.session_id = session_id
            if session is not None:
                ask_in(session)
        loop = _here.loop
        if loop.ends.seen:
            loop.catch_up()
        return loop

    def leave(self, error: BaseException | None = None) -> None:
        """Close the phases around the calling thread's loop."""
        _here.loop.leave_all(error)

    def leave_to_the_script(self) -> None:
        """Leave the loops to the script: it has phases of its own, and none of ours may lie around those."""
        self.are_there = False
        self.leave()

    def begin_anew(self) -> None:
        """Forget the loops of all threads: this is a forked child."""
        self._all.clear()
        forget_others()
        _here.loop = self.made()

    def _leave_those_of_threads(self) -> None:
        """Close the phases around the loops of threads that nobody waits for: the script is over."""
        with contextlib.suppress(Exception):
            for reference in self._all.valuerefs():
                loop = reference()
                if loop is not None and loop is not _here.loop:
                    loop.leave_all(None)


loops = Loops()
_here = _LoopOfThread()
