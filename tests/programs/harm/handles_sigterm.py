"""Catch SIGTERM, save, and end as planned, as jobs on clusters do.

exit: 0
verdict: none
"""

import os
import signal
from pathlib import Path

told = []
signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
os.kill(os.getpid(), signal.SIGTERM)
Path("checkpoint").write_text("saved")
print("asked to end by", told)
