"""Close every descriptor but the standard ones, as daemons do, and then write checkpoints that take their numbers.

tree:
  step ×60
"""

import os
import time

from phasescope import phase

os.closerange(3, 256)
files = [open(f"state-{number}", "wb") for number in range(12)]  # noqa: PTH123, SIM115 - they take the numbers over
for number in range(60):
    with phase("step"):
        files[number % 12].write(bytes(1000))
        files[number % 12].flush()
    time.sleep(0.005)
for file in files:
    file.close()
print([os.stat(f"state-{number}").st_size for number in range(12)])  # noqa: PTH116
