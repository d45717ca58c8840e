"""Read a mapped file once, a piece in each step: the kernel's cache, no leak.

needs: numpy
never: (?i)save a checkpoint
tree:
  step ×100
"""

from pathlib import Path

import numpy as np

from phasescope import phase

np.save("data.npy", np.ones((100, 2**18), "float32"))  # 100 MiB
data = np.load("data.npy", mmap_mode="r")
total = 0.0
for piece in data:
    with phase("step"):
        total += float(piece.sum())
print(total)
del data
Path("data.npy").unlink()
