"""Scenarios of a JAX training that tells its pytrees, on four devices that the host plays."""

from __future__ import annotations

import collections
import dataclasses
import gc
import os
import time
import weakref
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax
import jax.numpy as jnp
import numpy as np
from phasescope.integrations.jax import note_pytrees

import phasescope
from support.scenarios import made_of, scenario, tell_all

State = collections.namedtuple("State", ["count", "mean", "square"])
LARGE = 1100


class Refusing:
    """A class of the training's whose every method is code that must not run."""

    def __init__(self, weight: Any) -> None:
        self.weight = weight

    def _refuse(self, *_: Any) -> Any:
        raise AssertionError("code of the training's was called")

    __eq__ = __bool__ = __len__ = __iter__ = __repr__ = __getattr__ = _refuse
    __hash__ = _refuse
    array = property(_refuse)


jax.tree_util.register_pytree_node(Refusing, Refusing._refuse, Refusing._refuse)


@dataclasses.dataclass
class Layer:
    weight: Any
    bias: Any


class Slotted:
    __slots__ = ("unset", "value")

    def __init__(self, value: Any) -> None:
        self.value = value


def noted(**trees: Any) -> dict[str, int]:
    """Return what is found in a session of their own."""
    with phasescope.start() as session:
        note_pytrees(**trees)
        assert session.dropped == 0
        return made_of(session)


def own_bytes(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


@scenario
def a_training_with_donated_state() -> Any:
    parameters = {"first": jnp.ones((16, 8), jnp.bfloat16), "rest": [jnp.ones(8), (jnp.ones((8, 1)),)]}
    state = State(jnp.zeros((), jnp.int32), *(jax.tree.map(jnp.zeros_like, parameters) for _ in range(2)))
    before = parameters, state

    def step(parameters: Any, state: Any, batch: Any) -> Any:
        moved = jax.tree.map(lambda each: each - 0.1 * batch.mean().astype(each.dtype), parameters)
        return moved, State(state.count + 1, *state[1:])

    train = jax.jit(step, donate_argnums=(0, 1))
    with phasescope.start() as session:
        for _ in range(3):
            batch = jnp.ones((4, 16))
            with phasescope.phase("step"):
                parameters, state = train(parameters, state, batch)
            note_pytrees(parameters=parameters, optimizer_state=state, inputs=batch, buffers=before)
        found = made_of(session)
    return found, own_bytes(parameters), own_bytes(state), batch.nbytes


@scenario
def wherever_they_lie() -> Any:
    one = jnp.ones((4, 4))
    trees = [Layer(one, None), Slotted(jnp.ones(3)), Refusing(jnp.ones(5)), [np.ones(7)], jax.random.key(0), "x", 1]
    return noted(parameters=trees), (16 + 3 + 5) * 4 + 7 * 8 + 8


@scenario
def each_once() -> Any:
    one = jnp.ones(100)
    again = jax.device_put(one, jax.devices()[0])
    base = np.ones(50)
    assert again is not one
    return noted(parameters=[one, one, again, base, base[3:]], optimizer_state=[one, jnp.ones(10)])


@scenario
def sharded_and_replicated() -> Any:
    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(4), ("devices",))
    split = jax.NamedSharding(mesh, jax.P("devices"))
    everywhere = jax.NamedSharding(mesh, jax.P())
    trees = {"parameters": jax.device_put(jnp.ones((8, 8)), split), "buffers": jax.device_put(np.ones(3), everywhere)}
    found = noted(**trees)
    shards = {key: sum(shard.data.nbytes for shard in tree.addressable_shards) for key, tree in trees.items()}
    return found, shards


@scenario
def nothing_is_waited_for() -> Any:
    """Whether a look at an array that is still computed took less time than the computation."""
    compute = jax.jit(lambda x: jax.lax.fori_loop(0, 40, lambda _, y: jnp.tanh(y @ y), x))
    begin = jnp.ones((LARGE, LARGE))
    compute(begin).block_until_ready()
    with phasescope.start() as session:
        pending = compute(begin)
        before = pending.is_ready()
        note_pytrees(parameters=[pending])
        after = pending.is_ready()
        found = made_of(session)
        pending.block_until_ready()
    return before, after, found, pending.nbytes


@scenario
def nothing_is_kept() -> Any:
    tree = Layer(jnp.ones(3), jnp.ones(4))
    gone = weakref.ref(tree)
    arrays = len(jax.live_arrays())
    noted(parameters=tree)
    assert len(jax.live_arrays()) == arrays
    del tree
    gc.collect()
    return gone() is None, arrays - len(jax.live_arrays())


@scenario
def inside_of_a_compiled_function_there_is_nothing() -> Any:
    def step(x: Any) -> Any:
        note_pytrees(parameters=x)
        return x + 1

    with phasescope.start() as session:
        jax.jit(step)(jnp.ones(3))
        return made_of(session)


@scenario
def without_a_session() -> Any:
    note_pytrees(parameters=Refusing(None))
    return None


@scenario
def looks_of_many_calls() -> Any:
    """Return how many looks there were in how many calls, and after something was added."""
    trees = [jnp.ones(3)]
    with phasescope.start() as session:
        until, calls = time.monotonic() + 0.2, 0
        while time.monotonic() < until:
            note_pytrees(parameters=trees)
            calls += 1
        events = [event for event in session.events() if event["event_type"] == "memory_categories"]
        trees.append(jnp.ones(4))
        until = time.monotonic() + 60
        while made_of(session)["parameters"] != 28 and time.monotonic() < until:
            note_pytrees(parameters=trees)
        return len(events), calls, made_of(session)


if __name__ == "__main__":
    tell_all()
