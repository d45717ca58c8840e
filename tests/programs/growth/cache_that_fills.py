"""Cache what was computed until all of it is there, in the first third of the steps: no leak.

needs: numpy
tree:
  step ×240
"""

import functools

import numpy as np

from phasescope import phase


@functools.cache
def features(number):
    return np.full(2**16, float(number))


for number in range(240):
    with phase("step"):
        features(number % 80).sum()
print(features.cache_info())
