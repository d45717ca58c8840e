"""What the test files here have in common: there is one for each kind, so that they run beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from programs import table
from programs.trial import expected_of, programs, try_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def trials_of(kind: str) -> Callable[..., None]:
    """The test that tries each program of a kind, and hands its row to the table."""

    @pytest.mark.parametrize("program", programs(kind), ids=lambda program: program.stem)
    def tried(program: Path, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
        missing = expected_of(program).missing
        if missing:
            pytest.skip(f"needs {', '.join(missing)}")
        outcome = try_out(program, tmp_path)
        record_property(table.PROPERTY, outcome.row)
        assert not outcome.faults, "\n".join(["", *outcome.faults])

    return tried
