"""What the memory of a JAX training is made of: its pytrees, told by name.

    import phasescope
    from phasescope.integrations.jax import note_pytrees

    with phasescope.start():
        for batch in batches:
            with phasescope.phase("step"):
                params, opt_state, loss = train_step(params, opt_state, batch)
            note_pytrees(parameters=params, optimizer_state=opt_state, inputs=batch)

Tested with JAX 0.10, optax 0.2, equinox 0.13 and flax 0.12 on the CPU, on one device and on four.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._frameworks import framework
from ._look_times import TimedLooks
from ._sizes import CategorySizes

if TYPE_CHECKING:
    from phasescope import Session

    from ._look_times import LookTimes

framework("jax", "jax", pip="jax")

from ._jax_arrays import JaxArrays  # noqa: E402

__all__ = ["note_pytrees"]


_looks = TimedLooks()


def note_pytrees(
    *,
    parameters: Any = None,
    buffers: Any = None,
    gradients: Any = None,
    optimizer_state: Any = None,
    inputs: Any = None,
) -> None:
    """Note, at the end of a step, what the device's memory is made of: call it in each step with what there is then.

    Most calls only compare two times. The arrays are counted in the first three, then once something has been added
    or taken away at the top of a tree, else once a second at most, and in no more than a 2500th of the time. Then
    each array counts once, with its own bytes on each of this process's devices, in the first category that has it;
    one that was donated or deleted does not. Nothing is kept alive, waited for or computed.

    Args:
        parameters: a pytree, or any object that has arrays in its attributes, such as a module of equinox or flax's
            nnx.
        buffers: what is neither trained nor of the optimizer, such as flax's `batch_stats`.
        gradients: those that are still there when the step ends. Of a step that is compiled as a whole there are none.
        optimizer_state: what `optimizer.init` and `update` of optax return.
        inputs: the batch. Numpy's arrays count on the host.

    What is not given is not known, and is shown as no figure rather than as 0. Without a session it does nothing.
    """
    trees = {
        "parameters": parameters,
        "buffers": buffers,
        "gradients": gradients,
        "optimizer_state": optimizer_state,
        "inputs": inputs,
    }

    def look(session: Session, times: LookTimes) -> None:
        sizes, arrays = CategorySizes(), JaxArrays()
        for category, tree in trees.items():
            if tree is not None:
                arrays.add_tree(sizes, category, tree)
        session.note_categories(sizes.found(), looks=times.looks, looks_ns=times.spent_ns)

    _looks.look_if_due(lambda: _outline(trees), look)


def _outline(trees: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Return a few numbers that differ once a tree is another one than before."""
    return [
        (category, id(type(tree)), tree.__len__() if type(tree) is dict or type(tree) is list else 0)
        for category, tree in trees.items()
        if tree is not None
    ]
