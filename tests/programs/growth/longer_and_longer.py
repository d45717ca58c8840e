"""Work on sequences that get longer, each given back again: no leak.

needs: numpy
tree:
  step ×200
"""

import numpy as np

from phasescope import phase

total = 0.0
for number in range(200):
    with phase("step"):
        sequence = np.ones((100 + 40 * number, 64))
        total += float((sequence @ np.ones(64)).sum())
        del sequence
print(total)
