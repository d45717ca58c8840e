"""Real file systems of a few MiB, if this machine lets root mount them; else the test is skipped."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def tool(*command: str) -> None:
    """Run a command that only root may; skip the test if it fails."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(command[:3])} is not possible here: {done.stderr.strip()[-200:]}")


@contextlib.contextmanager
def mounted(kind: str, folder: Path) -> Iterator[Path]:
    """Mount a file system of its own, of a few MiB."""
    place = folder / kind
    place.mkdir()
    if kind == "tmpfs":
        tool("mount", "-t", "tmpfs", "-o", "size=16m,mode=1777", "tmpfs", str(place))
    else:
        image = folder / f"{kind}.image"
        with image.open("wb") as file:
            file.truncate(SIZES_MIB[kind] * 2**20)
        tool(f"mkfs.{kind}", *OPTIONS[kind], str(image))
        tool("mount", "-o", "loop", str(image), str(place))
        place.chmod(0o1777)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


SIZES_MIB = {"btrfs": 64, "xfs": 320, "ext4": 24}
OPTIONS = {"btrfs": ["-q", "-M"], "xfs": ["-q"], "ext4": ["-q", "-m", "0"]}
