"""Backends that are not in use yet: boundaries ask them only once that what they wait for has changed."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase
from support.assertions import exit_of
from support.fakes.failing import FailingBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Session

pytestmark = pytest.mark.neutral


class Waiting(FailingBackend):
    """A framework with a flag that says whether it is in use; `flags` None: it does not know its flag."""

    def __init__(self) -> None:
        super().__init__(allocated=100)
        self.is_ready = False
        self.flags: dict[str, Any] | None = {"is_used": False}

    def awaited(self) -> list[tuple[dict[str, Any], str]] | None:
        self._call("awaited")
        return None if self.flags is None else [(self.flags, "is_used")]

    def use(self) -> None:
        assert self.flags is not None
        self.is_ready = self.flags["is_used"] = True


@pytest.fixture
def backend() -> Waiting:
    return Waiting()


@pytest.fixture
def session(backend: Waiting) -> Iterator[Session]:
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        yield session


def some_phases() -> None:
    for _ in range(20):
        with phase("step"), phase("forward"):
            pass


def asked_during(backend: Waiting) -> int:
    before = backend.calls["ready"]
    some_phases()
    return backend.calls["ready"] - before


def test_boundaries_do_not_ask_while_nothing_changes(session: Session, backend: Waiting) -> None:
    some_phases()
    assert asked_during(backend) == 0


def test_the_next_phase_speaks_of_a_device_once_its_framework_is_in_use(session: Session, backend: Waiting) -> None:
    with phase("before"):
        backend.use()
    with phase("after"):
        backend.allocate(1)
    assert exit_of(session, "before")["collector"] == "phasescope.cpu"
    after = exit_of(session, "after")
    assert after["collector"] == "phasescope.cuda"
    assert after["metadata"]["phase_scope"]["allocated_delta_bytes"] == 1


def test_a_change_that_makes_nothing_ready_is_asked_about_once(session: Session, backend: Waiting) -> None:
    assert backend.flags is not None
    backend.flags["is_used"] = "nearly"
    assert asked_during(backend) == 1
    assert asked_during(backend) == 0


def test_an_import_is_asked_about(session: Session, backend: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    some_phases()
    backend.is_ready = True
    monkeypatch.setitem(sys.modules, "imported_just_now", ModuleType("imported_just_now"))
    with phase("after"):
        pass
    assert exit_of(session, "after")["collector"] == "phasescope.cuda"


@pytest.mark.parametrize("how", ["unknown", "raises"])
def test_one_that_does_not_say_is_asked_at_each_boundary(how: str, backend: Waiting) -> None:
    if how == "unknown":
        backend.flags = None
    else:
        backend.failing = {"awaited"}
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        assert asked_during(backend) == 40
        backend.is_ready = True
        with phase("after"):
            pass
        assert exit_of(session, "after")["collector"] == "phasescope.cuda"
    assert session.degraded == 0


def test_what_changes_while_it_is_asked_is_asked_about_again(session: Session, backend: Waiting) -> None:
    """Another thread begins to use the framework, right behind the answer that nobody does."""

    def not_yet() -> bool:
        backend.ready = lambda: backend.is_ready  # type: ignore[method-assign]
        backend.use()
        return False

    assert backend.flags is not None
    backend.ready = not_yet  # type: ignore[method-assign]
    backend.flags["is_used"] = "nearly"
    with phase("first"):
        pass
    with phase("second"):
        pass
    assert exit_of(session, "first")["collector"] == "phasescope.cpu"
    assert exit_of(session, "second")["collector"] == "phasescope.cuda"
