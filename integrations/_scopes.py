"""Phases that a framework's hooks open and close, if no `with` can stand around their work."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar

import phasescope
from phasescope import phase

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("phasescope")


class UnseenError(Exception):
    """Stands in the events as the error of a phase that something left without the framework telling its hooks."""


class Scopes:
    """A stack of open phases. Closing one also closes those that are still open inside it."""

    def __init__(self) -> None:
        self._open: list[tuple[str, phase]] = []

    def __contains__(self, name: str) -> bool:
        for opened, _ in self._open:  # noqa: SIM110 - asked several times a step: a generator takes twice the time
            if opened == name:
                return True
        return False

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def innermost(self) -> str | None:
        """The name of the innermost open phase."""
        return self._open[-1][0] if self._open else None

    @property
    def are_open(self) -> bool:
        """Whether all of them were begun under a session, and none has ended otherwise."""
        return all(scope.is_open for _, scope in self._open)

    @property
    def inside_out(self) -> list[tuple[str, phase]]:
        """The phases and their names, the innermost first."""
        return self._open[::-1]

    def enter(self, name: str, n: int | None = None) -> phase:
        """Open a phase inside the innermost one; `n` is its attribute of that name."""
        scope = phase(name) if n is None else phase(name, n=n)
        scope.__enter__()
        self._open.append((name, scope))
        return scope

    def leave(self, name: str, error: BaseException | None = None) -> None:
        """Close the innermost phase of that name, and those inside it. Does nothing if none is open."""
        opened = self._open
        if opened and opened[-1][0] == name and error is None:  # nearly always
            opened.pop()[1].__exit__(None, None, None)
        elif name in self:
            while self._leave_one(error) != name:
                pass

    def leave_inside(self, name: str, error: BaseException | None = None) -> None:
        """Close all that is open inside the innermost phase of that name."""
        opened = self._open
        if opened and opened[-1][0] != name and name in self:
            while opened[-1][0] != name:
                self._leave_one(error)

    def leave_all(self, error: BaseException | None = None) -> None:
        """Close every phase; with an error, as one that it ended."""
        while self._open:
            self._leave_one(error)

    def __reduce__(self) -> tuple[type[Scopes], tuple[()]]:
        return (Scopes, ())  # a framework may copy or pickle its callbacks: the copy has nothing open

    def _leave_one(self, error: BaseException | None) -> str:
        name, scope = self._open.pop()
        leave(scope, error)
        return name


def leave(scope: phase, error: BaseException | None) -> None:
    """Leave a phase that was entered by hand, as `with` would."""
    scope.__exit__(None if error is None else type(error), error, None)


class FitSession:
    """The session of a fit: the one that runs, or one that is started for it and stopped with it.

    `session` is still there afterwards, for its summary.
    """

    _fits = 0
    before_any: ClassVar[list[Callable[[], None]]] = []
    """Called before a fit begins: what lies around a plain loop ends there."""
    waits: ClassVar[Callable[[], bool]] = staticmethod(lambda: False)
    awaited: ClassVar[Callable[[], phasescope.Session | None]] = staticmethod(lambda: None)
    """Whether this is a child of `phasescope run`, whose session begins with the first phase; and that, begun now."""

    def __init__(self) -> None:
        self.session: phasescope.Session | None = None
        self._mine: phasescope.Session | None = None
        self._depth = 0

    @classmethod
    def is_any_open(cls) -> bool:
        """Return whether a framework's fit runs, whose callback marks its phases already."""
        return cls._fits > 0

    def begin(self) -> None:
        """Begin a fit, or something inside it such as a validation."""
        self._depth += 1
        if self._depth > 1:
            return
        for call in FitSession.before_any:
            call()
        FitSession._fits += 1
        self.session = phasescope.current() or FitSession.awaited()
        if self.session is None:
            try:
                self.session = self._mine = phasescope.start()
            except Exception as error:  # a directory or an environment that cannot hold a session
                logger.warning("no session could be started: %s", error)

    def end(self) -> None:
        """End the call begun last; with the outermost, stop the session if it was started here."""
        if self._depth == 0:
            return
        self._depth -= 1
        if self._depth == 0:
            FitSession._fits -= 1
            mine, self._mine = self._mine, None
            if mine is not None:
                mine.stop()

    def end_all(self) -> None:
        """End everything: the fit is over, however it ended."""
        while self._depth:
            self.end()

    def __reduce__(self) -> tuple[type[FitSession], tuple[()]]:
        return (FitSession, ())


def checked_interval(name: str, value: object) -> int | None:
    """Return a number of steps, or None. Raises TypeError or ValueError naming the argument."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number or None, not a {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, or None for never, not {value}")
    return value
