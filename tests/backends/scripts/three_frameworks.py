"""torch, TensorFlow and JAX in one process, used one after the other under one session. Prints what was seen, as JSON.

Run in a process of its own: what is told here depends on nothing having been initialised before.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # with it TensorFlow's allocator for the host answers on every processor

import jax
import tensorflow as tf
import torch
from jax._src import xla_bridge
from tensorflow.python.eager import context

import phasescope
from phasescope import phase
from phasescope.backends.jax import Jax
from phasescope.backends.tensorflow import Tensorflow
from phasescope.testing import sample

MIB = 2**20
SIZE = 200 * MIB


def untouched() -> dict[str, bool]:
    """What of the frameworks is still as their import left it."""
    return {
        "tensorflow": context.context_safe() is None,
        "jax": not xla_bridge.backends_are_initialized(),
        "torch": not torch.cuda.is_initialized(),
    }


def values(backend: Tensorflow | Jax) -> list[int]:
    """The identities of what a backend waits for."""
    return [id(namespace.get(name)) for namespace, name in backend.awaited() or ()]


def look(session: phasescope.Session) -> None:
    """Whatever the profiler does on its own: boundaries, samples, every question to every backend."""
    for _ in range(3):
        with phase("look"):
            sample(session)


def kept(name: str, make: Any) -> None:
    """Make a thing inside a phase and keep it until the phase is over."""
    with phase(name):
        thing = make()
    del thing


def train_tensorflow() -> None:
    """A real training, small."""
    model = tf.keras.Sequential([tf.keras.layers.Dense(64), tf.keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    model.fit(tf.random.normal((256, 32)), tf.random.normal((256, 1)), epochs=1, batch_size=64, verbose=0)


def main() -> None:
    """Look, use each framework, look again."""
    seen: dict[str, Any] = {}
    session = phasescope.start(interval_ms=3_600_000)
    look(session)
    seen["untouched"] = untouched()
    tensorflow, jaxs = Tensorflow(), Jax()
    awaited = {"tensorflow": values(tensorflow), "jax": values(jaxs)}
    seen["torch's flag"] = [vars(module).get("_initialized") for module in (torch.cuda, torch.xpu)]
    kept("torch", lambda: torch.ones(SIZE // 4))
    seen["after torch"] = untouched()
    kept("tensorflow", lambda: tf.ones((SIZE // 4,)))
    with phase("fit"):
        train_tensorflow()
    block = tf.ones((SIZE // 4,))
    sample(session)
    seen["tensorflow says"] = tf.config.experimental.get_memory_info("CPU:0")["current"]
    del block
    sample(session)
    seen["after tensorflow"] = untouched()
    kept("jax", lambda: jax.numpy.ones(SIZE // 4).block_until_ready())
    sample(session)
    seen["awaited has changed"] = {
        "tensorflow": values(tensorflow) != awaited["tensorflow"],
        "jax": values(jaxs) != awaited["jax"],
    }
    events = session.events()
    session.stop()
    with phasescope.start(backends=["tensorflow"], interval_ms=3_600_000) as named:
        kept("named", lambda: tf.ones((SIZE // 4,)))
        named_events = named.events()
    for event in events + named_events:
        phasescope.validate_event(event)
    json.dump({**seen, "events": events, "named": named_events}, sys.stdout)


if __name__ == "__main__":
    main()
