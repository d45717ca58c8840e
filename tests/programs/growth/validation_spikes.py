"""Validate on a batch forty times as large, every thirty steps: no leak.

needs: numpy
tree:
  step ×180
  validate ×6
"""

import numpy as np

from phasescope import phase

total = 0.0
for number in range(180):
    with phase("step"):
        total += float(np.ones((1000, 64)).sum())
    if number % 30 == 29:
        with phase("validate"):
            total += float(np.ones((40_000, 64)).sum())
print(total)
