"""Have the own live ring cut off by somebody, and train on.

stderr: a sample that falls in between says where the session goes on
tree:
  first ×1, 1 left open
    step ×1000
"""

import os
from pathlib import Path

import phasescope

session = phasescope.current() or phasescope.start()
phasescope.phase("first").__enter__()
for ring in Path(os.environ["PHASESCOPE_DIR"]).rglob("*.ring"):
    os.truncate(ring, 0)
for _ in range(1000):
    with phasescope.phase("step"):
        pass
print("trained on")
