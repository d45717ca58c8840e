"""Both cores write the same: the same calls under the same clock give rings that are equal byte for byte."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from phasescope import _native
from support.both_cores import printed_and_ring

pytestmark = pytest.mark.skipif(not _native.has_phases, reason=f"no compiled phases here: {_native.why_not}")

SCRIPT = Path(__file__).parent / "scripts" / "same_calls.py"
IN_MEMORY = Path("/dev/shm")


def told(pure: bool, directory: Path, seed: int, calls: int) -> tuple[list[str], bytes, bytes]:
    """Return what the script prints but the path, and of the ring positions and records."""
    return printed_and_ring(SCRIPT, pure, directory, seed, calls)


@pytest.mark.parametrize("seed", range(6))
def test_the_same_calls_give_the_same_ring(seed: int, tmp_path: Path) -> None:
    """On a disk, where the kernel makes each store."""
    compiled, pure = (told(is_pure, tmp_path / str(is_pure), seed, 400) for is_pure in (False, True))
    assert compiled == pure
    assert int(compiled[0][0]) > 1000


@pytest.mark.skipif(not (IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK)), reason="there is no such tmpfs here")
def test_they_do_on_a_tmpfs_too() -> None:
    """Where they store into the pages; for root they ask for those first."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        compiled, pure = (told(is_pure, Path(folder) / str(is_pure), 11, 400) for is_pure in (False, True))
    assert compiled == pure
