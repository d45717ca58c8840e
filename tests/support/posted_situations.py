"""A posted situation: what was raised, the driver's figures where somebody looked, and what the thread found."""

from __future__ import annotations

from typing import NamedTuple

from phasescope.backends.protocol import DeviceCounters
from phasescope.testing import FakeBackend
from support.torch_messages import GIB


class Driver(NamedTuple):
    """What the allocator and the driver say afterwards, in bytes."""

    allocated: int
    reserved: int
    free: int
    total: int
    own: int
    others: int


class Case(NamedTuple):
    """What was raised, the cause that the thread found, what the headline names, and the first words of advice.

    `backend` is None for a device that no backend measures.
    """

    message: str
    kind: str
    names: str
    advice: str
    backend: str | None = "cuda"
    driver: Driver | None = None


class Gpu(FakeBackend):
    """A device with the driver's figures of it."""

    def __init__(self, name: str, driver: Driver | None) -> None:
        super().__init__(name, allocated=GIB, reserved=60 * GIB)
        if driver is not None:
            self.set(driver.allocated, driver.reserved)
            self.figures = DeviceCounters(driver.total - driver.free, driver.free, driver.total)
            self.list_processes(driver.own, driver.others)

    @classmethod
    def of(cls, case: Case) -> Gpu | None:
        """Return the device of a situation."""
        return None if case.backend is None else cls(case.backend, case.driver)
