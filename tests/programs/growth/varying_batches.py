r"""Keep 1 MiB in each step, under batches that take up to 15 MiB in forward and give it back in backward: a leak.

needs: numpy
verdict: growth
never: (keeps|shows) [0-9.]+ GiB|forward (keeps|shows) \+([2-9]|1[0-9])
tree:
  step ×300
    forward ×300
    backward ×300
"""

import random

import numpy as np

from phasescope import phase

random.seed(0)
kept = []
for _ in range(300):
    with phase("step"):
        with phase("forward"):
            batch = np.ones(random.randrange(2**18, 2**21))
        with phase("backward"):
            del batch
        kept.append(np.ones(2**17))
print(len(kept))
