"""Train by a compiled function of JAX: nothing of it is marked, and that is said.

needs: jax
"""

import jax
import jax.numpy as jnp


def loss_of(weights, x, y):
    return jnp.mean((jnp.tanh(x @ weights["inner"]) @ weights["outer"] - y) ** 2)


@jax.jit
def step(weights, x, y):
    loss, slope = jax.value_and_grad(loss_of)(weights, x, y)
    return jax.tree.map(lambda weight, change: weight - 0.1 * change, weights, slope), loss


first, second, data = jax.random.split(jax.random.PRNGKey(0), 3)
weights = {"inner": jax.random.normal(first, (4, 8)), "outer": jax.random.normal(second, (8, 1))}
x = jax.random.normal(data, (16, 4))
for _ in range(5):
    weights, loss = step(weights, x, jnp.ones((16, 1)))
    print(float(loss).hex())
