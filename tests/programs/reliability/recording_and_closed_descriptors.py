"""Record into a file, close all descriptors, and write checkpoints that take their numbers over.

differs: events*.jsonl
ranks: 0 0
tree:
  step ×50
"""

import os
import time
from pathlib import Path

import phasescope

phasescope.stop()  # where one runs already, that one is not recorded
phasescope.start(record="events.jsonl", interval_ms=20)
os.closerange(3, 256)
checkpoints = [open(f"checkpoint-{number}", "wb") for number in range(20)]  # noqa: PTH123, SIM115
for number in range(50):
    with phasescope.phase("step", number=number):
        checkpoints[number % 20].write(b"weights")
    time.sleep(0.01)
for file in checkpoints:
    file.close()
print({path.read_bytes() for path in Path().glob("checkpoint-*")})
