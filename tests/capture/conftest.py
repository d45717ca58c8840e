"""What the tests of the training side share: a session whose only device and whose clock the test has in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Session
    from phasescope.testing import FakeClock


@pytest.fixture
def session(clock: FakeClock) -> Iterator[Session]:
    import phasescope  # not before the calls that another system lacks are taken away
    from phasescope.testing import FakeBackend

    with phasescope.start(backends=[FakeBackend()], clock=clock) as session:
        yield session
