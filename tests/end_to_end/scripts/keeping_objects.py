"""Trainings that keep objects, each as the argument says; their sessions take censuses, whatever those cost here."""

from __future__ import annotations

import ctypes
import functools
import gc
import io
import sys
from collections import deque
from typing import Any

import numpy as np

import phasescope
from phasescope.capture.census import budget

budget._AT_LEAST_NS = 10**14  # the cores may be busy

HISTORY: list[dict[str, Any]] = []
ARRAYS: list[Any] = []


class Recorder:
    """Keeps what a hook sees."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Any]] = {}

    def hook(self, name: str) -> Any:
        def store(_module: Any, _inputs: Any, output: Any) -> None:
            self.seen.setdefault(name, []).append(output.detach())

        return store


class Metric:
    """Keeps what it is updated with, and in a dict of plain values, which the collector does not list."""

    curves: dict[int, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.predictions: list[Any] = []

    def update(self, predictions: Any) -> None:
        self.predictions.append(predictions)


@functools.cache
def encoding(step: int) -> Any:
    import torch

    return torch.ones(64, 61) * step


def failing(size: int) -> None:
    import torch

    large = torch.ones(size, 127)
    raise ValueError(tuple(large.shape))


def all_at_once() -> None:
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters())
    losses, errors, logits = [], [], []
    recorder, metric = Recorder(), Metric()
    model[0].register_forward_hook(recorder.hook("first"))
    for step in range(70):
        with phasescope.phase("step"):
            batch = torch.randn(128, 32)
            outputs = model(batch)
            loss = nn.functional.cross_entropy(outputs, torch.randint(0, 10, (128,)))
            optimizer.zero_grad()
            loss.backward(retain_graph=True)
            optimizer.step()
            losses.append(loss)
            try:
                failing(125)
            except ValueError as error:
                errors.append(error)
            encoding(step)
            metric.update(outputs.detach().argmax(1).to(torch.int16))
            logits += [outputs.detach()]
            metric.curves[step] = np.ones(501)
            HISTORY.append({"loss": loss.item(), "step": step, "text": "x" * 1000 + str(step)})
            ARRAYS.append(batch.to(torch.float64).numpy())


class Results:
    """Joins each batch of predictions to those before."""

    def __init__(self) -> None:
        self.joined: Any = np.empty((0, 4096), "float32")

    def add(self, predictions: Any) -> None:
        self.joined = np.concatenate([self.joined, predictions])


def larger() -> None:
    """A tensor, an array, a buffer and a text that become larger; others that are large, or come again, and do not."""
    import torch

    results, log, report, everything = Results(), io.BytesIO(), io.StringIO(), torch.empty(0, 4096)
    fixed: Any = np.zeros(2**22, "uint8")
    table = {"fixed": torch.ones(2**20), "embeddings": torch.empty(0, 1024)}
    for step in range(200):
        with phasescope.phase("step"):
            batch = torch.ones(128 + 64 * (step % 2), 4096)
            results.add(batch[:16].numpy())
            everything = torch.cat([everything, batch[:32]])
            table["embeddings"] = torch.cat((table["embeddings"], batch[:32, :1024]))
            log.write(bytes(fixed[: 2**16]))
            report.write(f"{step:65536}")


def summed_up() -> None:
    import torch

    layer = torch.nn.Linear(8, 8)
    total: Any = 0
    for _ in range(70):
        with phasescope.phase("step"):
            total += layer(torch.randn(4, 8)).square().mean()


def never_detached() -> None:
    """The longest graph is that of what the model has returned just now: a phase ends before it gets its name."""
    import torch

    cell = torch.nn.RNNCell(8, 8)
    state = torch.zeros(4, 8)

    def forward(state: Any) -> Any:
        with phasescope.phase("step"):
            return cell(torch.ones(4, 8), state)

    for _ in range(70):
        state = forward(state)
        cost = state.square().mean()
    cost.detach()


def create_graph() -> None:
    import torch

    layer = torch.nn.Linear(8, 8)
    for _ in range(70):
        with phasescope.phase("step"):
            layer(torch.randn(4, 8)).square().mean().backward(create_graph=True)


def harmless() -> None:
    """A buffer that is full, garbage that the collector takes in waves, a cache that is full, and the model itself."""
    import torch

    layer = torch.nn.Linear(8, 8)
    optimizer = torch.optim.Adam(layer.parameters())
    replay: deque[Any] = deque(maxlen=20)
    cache = functools.lru_cache(maxsize=8)(lambda step: torch.ones(3, 3) * step)
    gc.set_threshold(300)
    for step in range(140):
        with phasescope.phase("step"):
            optimizer.zero_grad()
            layer(torch.randn(4, 8)).square().mean().backward()
            optimizer.step()
            replay.append(torch.ones(7, 7))
            cache(step)
            ring: list[Any] = [torch.ones(5, 5)]
            ring.append(ring)


def losses_alone() -> None:
    import torch

    torch.set_num_threads(1)
    layer = torch.nn.Linear(256, 256)
    losses = []
    for _ in range(300):
        with phasescope.phase("step"):
            loss = layer(torch.randn(256, 256)).tanh().mean()
            losses.append(loss)  # alone


def outside() -> None:
    """Memory of a C library that nobody frees."""
    allocate = ctypes.CDLL(None).malloc
    allocate.restype, allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    for _ in range(200):
        with phasescope.phase("step"):
            ctypes.memset(allocate(1 << 20), 1, 1 << 20)


def arrays_alone() -> None:
    for _ in range(200):
        with phasescope.phase("step"):
            ARRAYS.append(np.ones((1, 1 << 17)))


def jax_keeps() -> None:
    """Outputs in a list, and a function that is compiled for each number that it is given."""
    import jax
    import jax.numpy as jnp

    kept = []

    def scaled(x: Any, number: int) -> Any:
        return jnp.sin(x) * number

    train = jax.jit(scaled, static_argnums=1)
    for step in range(150):
        with phasescope.phase("step"):
            kept.append(train(jnp.ones((256, 256)), step))  # of jax


def tensorflow_keeps() -> None:
    """Outputs in a list, and a function that is traced for each number that it is given."""
    import tensorflow as tf

    kept = []

    def scaled(x: Any, number: float) -> Any:
        return tf.sin(x) * number

    train = tf.function(scaled)
    for step in range(150):
        with phasescope.phase("step"):
            kept.append(train(tf.ones((256, 256)), float(step)))  # of tensorflow


def compiles_at_first() -> None:
    """Some shapes that come again: no function is compiled at each step."""
    import jax
    import numpy as np

    def total(x: Any) -> Any:
        return (x * x).sum()

    train = jax.jit(total)
    for step in range(150):
        with phasescope.phase("step"):
            train(np.ones(step % 12 + 1, "float32"))


with phasescope.start(census=True):
    globals()[sys.argv[1]]()
