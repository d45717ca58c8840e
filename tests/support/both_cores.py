"""A script that runs in a process of its own with either core, and the ring that it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from phasescope import _native
from phasescope.wire import ring
from support.waiting import CEILING_S


def printed_and_ring(script: Path, pure: bool, directory: Path, *numbers: int) -> tuple[list[str], bytes, bytes]:
    """Return what the script prints but the ring's path, and of the ring positions and records.

    The script gets the directory, which is made, and the numbers.
    """
    environment = {**os.environ, _native.SWITCH: "1" if pure else "0"}
    directory.mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, str(script), str(directory), *map(str, numbers)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    path, *printed = done.stdout.split()
    data = Path(path).read_bytes()
    offset = int.from_bytes(data[16:24], sys.byteorder)
    return printed, data[8 * ring.HEAD : 8 * ring.HEARTBEAT], data[offset:]
