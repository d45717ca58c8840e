"""Trainings whose steps keep something that their libraries count: `keeping.py NAME`. Run by test_growth_advice.py."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

import phasescope
from phasescope import phase
from phasescope.backends import library_counters
from phasescope.capture import device_figures

STEPS = 200
PAUSE_S = 0.03  # libraries count some times a second, and it takes a few counts, on a fast machine too
kept: list[Any] = []


def traced() -> None:
    """A Python number that changes makes TensorFlow trace the function again in every step."""
    import tensorflow as tf

    weights = tf.Variable(tf.random.normal((64, 64)))

    def step(batch: Any, rate: float) -> Any:
        return tf.reduce_sum(tf.matmul(batch, weights)) * rate

    train = tf.function(step)
    batch = tf.random.normal((64, 64))
    with phasescope.start(interval_ms=20):
        for number in range(STEPS):
            with phase("step"):
                train(batch, float(number))


def objects() -> None:
    """Small objects of Python's own, in a list that nobody empties."""
    with phasescope.start(interval_ms=20):
        for number in range(STEPS):
            with phase("step"):
                kept.append([{"step": number, "sample": each} for each in range(2000)])
                time.sleep(PAUSE_S)


def tensors() -> None:
    """Tensors, and torch is loaded."""
    import torch

    with phasescope.start(interval_ms=20):
        for _ in range(STEPS):
            with phase("step"):
                kept.append(torch.rand(2**18))


def figures() -> None:
    """A figure for each step, and none is closed."""
    plt = importlib.import_module("matplotlib.pyplot")
    plt.switch_backend("agg")

    with phasescope.start(interval_ms=20):
        for number in range(STEPS):
            with phase("step"):
                plt.figure()
                plt.plot(range(number))
                time.sleep(PAUSE_S)


if __name__ == "__main__":
    # What libraries count is asked once a second, and less often where that takes long; a test has no minute to wait.
    device_figures.EXTRA_PERIOD_NS = 30_000_000
    library_counters._AT_MOST = 1
    globals()[sys.argv[1]]()
