"""Keep the exceptions of bad batches, whose tracebacks hold the batches: a leak.

needs: numpy
verdict: growth
tree:
  step ×150
"""

import numpy as np

from phasescope import phase

failures = []


def check(batch):
    doubled = batch * 2
    if doubled.sum() > 0:
        raise ValueError("a bad batch")


for _ in range(150):
    with phase("step"):
        try:
            check(np.ones(2**16))
        except ValueError as error:
            failures.append(error)
print(len(failures))
