"""A loop that runs out of memory: its batch doubles until the system gives no more. Linux.

It ends in a MemoryError, and its session stays. In which phase, and at which batch: `phasescope explain`.
"""

from __future__ import annotations

import resource

import phasescope
from phasescope import phase

MB = 10**6


def main(limit_bytes: int = 1000 * MB) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))  # as a batch system may limit a job
    with phasescope.start():
        batch_mb = 10
        while True:
            with phase("step", batch_mb=batch_mb):
                with phase("data"):
                    batch = b"x" * (batch_mb * MB)
                with phase("forward"):
                    activations = [batch.swapcase() for _ in range(3)]
            del activations
            batch_mb *= 2


if __name__ == "__main__":
    main()
