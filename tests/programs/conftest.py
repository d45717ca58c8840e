"""What the trials of one kind leave behind is ended with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", autouse=True)
def no_process_stays() -> Iterator[None]:
    """End the processes that have loaded a framework once no more programs of this kind come."""
    from programs.preloaded import end_all

    yield
    end_all()
