"""A JAX training loop, with phases. JAX hands work to the device and goes on, so a phase that is to last as long as its
work waits for it; leave that out where the loop must not wait."""

from __future__ import annotations

import jax
import jax.numpy as jnp

import phasescope
from phasescope import phase

Weights = tuple[jax.Array, jax.Array]


def loss_of(weights: Weights, inputs: jax.Array, targets: jax.Array) -> jax.Array:
    hidden, output = weights
    return jnp.mean((jax.nn.relu(inputs @ hidden) @ output - targets) ** 2)


def main(epochs: int = 2) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    features = jax.random.normal(keys[0], (16, 64, 64))
    targets = features.sum(axis=2, keepdims=True)
    weights = 0.1 * jax.random.normal(keys[1], (64, 256)), 0.1 * jax.random.normal(keys[2], (256, 1))
    gradients_of = jax.jit(jax.grad(loss_of))

    with phasescope.start() as session:
        for epoch in range(epochs):
            with phase("epoch", n=epoch):
                for inputs, wanted in phasescope.track(zip(features, targets, strict=True), name="data"):
                    with phase("forward_backward"):
                        gradients = jax.block_until_ready(gradients_of(weights, inputs, wanted))
                    with phase("optimizer"):
                        weights = jax.tree.map(lambda weight, change: weight - 0.001 * change, weights, gradients)
        print(session.summary())


if __name__ == "__main__":
    main()
