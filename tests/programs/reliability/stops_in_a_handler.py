"""Stop the session in a signal handler, while phases come and go.

tree:
  step ×501, 1 left open
"""

import os
import signal
import time

import phasescope

signal.signal(signal.SIGUSR1, lambda number, frame: phasescope.stop())
phasescope.start()
for number in range(1000):
    with phasescope.phase("step"):
        if number == 500:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0)
print("went on")
