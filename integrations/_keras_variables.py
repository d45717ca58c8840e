"""What a Keras model's memory is made of on TensorFlow and JAX: its variables and its optimizer's, as they lie there.

The layers' and the optimizer's own lists are read, never a property that a model may have overridden, and no value.
While JAX trains, the values lie in the trainer's state: to ask a variable for its own would put them all back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._attributes import attributes_of
from ._held import hold, there
from ._look_times import TimedLooks
from ._sizes import CategorySizes

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Iterator

    from phasescope import Session

    from ._look_times import LookTimes

_MOST_LAYERS = 100_000
_ORDER = ("parameters", "buffers", "optimizer_state")
_STATE = {"trainable_variables": "parameters", "optimizer_variables": "optimizer_state"}

_models: dict[int, weakref.ref[Any]] = {}
_looks = TimedLooks()


def know_model(model: Any) -> None:
    """Count a model from now on, as long as it is there."""
    hold(_models, model)


def look_if_due(backend: str, moment: str) -> None:
    """Note what the known models' memory is made of, if it is time to: at a step's end, or before any (`forward`)."""

    def look(session: Session, times: LookTimes) -> None:
        sizes = _count(there(_models), backend)
        session.note_categories(sizes, moment=moment, looks=times.looks, looks_ns=times.spent_ns)

    _looks.look_if_due(_outline, look)


def _count(models: list[Any], backend: str) -> dict[str, dict[str, int]]:
    sizes = CategorySizes()
    is_trained = any(_is_built(attributes_of(model).get("optimizer")) for model in models)
    for category in _ORDER[: 3 if is_trained else 2]:
        sizes.begin(category)
    values = [value for model in models for value in _values_of(model)]
    values.sort(key=lambda each: _ORDER.index(each[0]))  # what two of them have counts in the first
    add: Callable[[CategorySizes, str, Any], None]
    if backend == "jax":
        from ._jax_arrays import JaxArrays

        add = JaxArrays().add
    else:
        from ._tensorflow_variables import add_variable as add
    for category, value in values:
        add(sizes, category, value)
    return sizes.found()


def _values_of(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield what lies behind the variables of a model and of its optimizer, each with its category."""
    variables = list(_variables_of(model))
    yield from _trained_now(model, variables)
    variables += [("optimizer_state", variable) for variable in _state_of(attributes_of(model).get("optimizer"))]
    for category, variable in variables:
        yield category, attributes_of(variable).get("_value")


def _variables_of(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the variables of a model and of all its layers, each once, in Keras's own order."""
    seen: set[int] = set()
    waiting, layers = [model], 0
    while waiting and layers < _MOST_LAYERS:
        layer = waiting.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        layers += 1
        own = attributes_of(layer)
        # What is no weight for training is a weight all the same once it is quantised.
        kept = "parameters" if own.get("_is_quantized") is True else "buffers"
        variables = [("parameters", variable) for variable in _items(own.get("_trainable_variables"))]
        variables += [(kept, variable) for variable in _items(own.get("_non_trainable_variables"))]
        variables += [("buffers", attributes_of(one).get("state")) for one in _items(own.get("_seed_generators"))]
        for category, variable in variables:
            if id(variable) not in seen:
                seen.add(id(variable))
                yield category, variable
        waiting += reversed(_items(own.get("_layers")))


def _is_built(optimizer: Any) -> bool:
    """Return whether an optimizer knows what it trains. If not, a `train_step` may use others, which are not known."""
    return attributes_of(optimizer).get("built") is True


def _state_of(optimizer: Any) -> list[Any]:
    """Return an optimizer's variables, those of one that it wraps (a scaled loss) among them."""
    if not _is_built(optimizer):
        return []
    own = attributes_of(optimizer)
    inner = own.get("inner_optimizer")
    return [*_items(own.get("_variables")), *(() if inner is None else _state_of(inner))]


def _trained_now(model: Any, variables: list[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of the state that JAX's trainer goes on with, as of the last batch."""
    state: Any = attributes_of(model).get("_jax_state")
    if not issubclass(type(state), dict):
        return
    for name, category in _STATE.items():
        for value in _items(dict.get(state, name)):
            yield category, value
    others = _items(dict.get(state, "non_trainable_variables"))
    frozen = [category for category, variable in variables if not attributes_of(variable).get("_trainable")]
    for place, value in enumerate(others):
        yield frozen[place] if len(frozen) == len(others) else "buffers", value


def _outline() -> list[tuple[int, int, int]]:
    """Return a few numbers that differ once there are other models or layers, or an optimizer has more state."""
    owned = [attributes_of(model) for model in there(_models)]
    optimizers = [own.get("optimizer") for own in owned]
    return [
        (len(_items(own.get("_layers"))), id(optimizer), len(_state_of(optimizer)))
        for own, optimizer in zip(owned, optimizers, strict=True)
    ]


def _items(held: Any) -> list[Any]:
    """Return what is in a list, be it one that TensorFlow has wrapped."""
    if not issubclass(type(held), list):
        return list(held) if type(held) is tuple else []
    items = list(list.__iter__(held))
    return items or _items(attributes_of(held).get("_storage"))
