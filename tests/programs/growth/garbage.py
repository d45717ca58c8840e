"""Make cycles that hold memory until the collector comes: a sawtooth, no leak.

needs: numpy
tree:
  step ×240
"""

import gc

import numpy as np

from phasescope import phase


class Node:
    def __init__(self):
        self.itself = self
        self.buffer = np.ones(2**16)


for number in range(240):
    with phase("step"):
        Node()
        if number % 20 == 19:
            gc.collect()
