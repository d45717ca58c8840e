"""Scenarios of the Keras callback. The argument is the backend of Keras."""

from __future__ import annotations

import contextlib
import copy
import gc
import os
import pickle
import signal
import sys
import weakref
from typing import Any

os.environ.update(KERAS_BACKEND=sys.argv[1], KERAS_HOME=os.getcwd(), TF_CPP_MIN_LOG_LEVEL="3")  # noqa: PTH109

import keras
import numpy as np
from phasescope.integrations import _keras_variables
from phasescope.integrations.keras import PhaseCallback

import phasescope
from phasescope import phase
from support.assertions import scopes
from support.scenarios import forget_models, made_of, notes, phases, scenario, tell_all

COMPILED = {"run_eagerly": False}
BACKEND = sys.argv[1]
X = np.linspace(0, 1, 24, dtype="float32").reshape(6, 4)
Y = X[:, :1]
FIT: dict[str, Any] = {"batch_size": 2, "verbose": 0, "shuffle": False}


class Failing(keras.layers.Layer):  # type: ignore[misc]
    """Raises in its next call, once it is armed."""

    armed = False
    error: BaseException | None = None
    interrupt = False

    def call(self, inputs: Any) -> Any:
        if self.armed and self.interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        if self.armed and self.error is not None:
            raise self.error
        return inputs


class Arm(keras.callbacks.Callback):  # type: ignore[misc]
    """Arms the layer for the second batch of a training, or the first of a validation."""

    def __init__(self, layer: Failing, validation: bool = False) -> None:
        super().__init__()
        self.layer = layer
        self.validation = validation

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.layer.armed = batch == 1 and not self.validation

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.layer.armed = self.validation


class Data(keras.utils.PyDataset):  # type: ignore[misc]
    """Four batches, of which the third cannot be had. The first two are looked at before a fit begins."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        if index == 2:
            raise ValueError("no such batch")
        return X[:2], Y[:2]


class Strict(PhaseCallback):  # type: ignore[misc]
    """Asked for its model, a callback has JAX put the state back into it: this one never does."""

    @property
    def model(self) -> Any:
        raise AssertionError("the callback asked for the model")


def model(*inner: Any, optimizer: Any = "adam", **options: Any) -> Any:
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3), *inner, keras.layers.Dense(1)])
    made.compile(optimizer, "mse", **({"run_eagerly": True} | options))  # which is quicker
    return made


def failing() -> tuple[Any, Failing]:
    layer = Failing()
    return model(layer), layer


def of(callback: PhaseCallback) -> list[str]:
    assert callback.session is not None
    assert notes(callback.session) == []
    return phases(callback.session)


@scenario
def two_epochs_with_validation() -> Any:
    callback = Strict()
    history = model(**COMPILED).fit(X, Y, epochs=2, validation_data=(X[:2], Y[:2]), callbacks=callback, **FIT)
    assert set(history.history) == {"loss", "val_loss"}
    return of(callback)


@scenario
def evaluate_and_predict() -> Any:
    callback = PhaseCallback()
    trained = model()
    trained.evaluate(X[:2], Y[:2], callbacks=[callback], batch_size=2, verbose=0)
    evaluated = of(callback)
    trained.predict(X[:4], callbacks=callback, batch_size=2, verbose=0)
    return evaluated, of(callback)


@scenario
def predict_of_a_model_without_an_optimizer() -> Any:
    callback = PhaseCallback()
    keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)]).predict(X[:2], callbacks=[callback], verbose=0)
    return of(callback)


@scenario
def several_steps_per_execution() -> Any:
    if BACKEND == "torch":
        return None  # Keras has none there
    callback = PhaseCallback()
    model(steps_per_execution=2, **COMPILED).fit(X, Y, callbacks=[callback], **FIT)
    assert callback.session is not None
    batches = [scope for scope in scopes(callback.session, "enter") if scope["name"] == "batch"]
    return of(callback), [scope["attributes"] for scope in batches]


@scenario
def gradient_accumulation() -> Any:
    callback = PhaseCallback()
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=3)
    model(optimizer=optimizer).fit(X, Y, callbacks=[callback], **FIT)
    return of(callback)


@scenario
def an_exception_in_a_batch_and_then_a_second_fit() -> Any:
    callback = PhaseCallback()
    trained, layer = failing()
    layer.error = ValueError("in the batch")
    with phasescope.start() as session:
        with phase("mine"):
            with contextlib.suppress(ValueError):
                trained.fit(X, Y, callbacks=[callback, Arm(layer)], **FIT)
            layer.error = None
            with phase("second"):
                trained.fit(X[:2], Y[:2], callbacks=[callback], **FIT)
        return phases(session), notes(session), phasescope.current() is session is callback.session


@scenario
def keyboard_interrupt() -> Any:
    callback = PhaseCallback()
    trained, layer = failing()
    layer.interrupt = True
    with contextlib.suppress(KeyboardInterrupt):
        trained.fit(X, Y, callbacks=[callback, Arm(layer)], **FIT)
    return of(callback)


@scenario
def an_exception_while_data_are_fetched() -> Any:
    callback = PhaseCallback()
    with contextlib.suppress(Exception):  # TensorFlow makes one of its own of it
        model().fit(Data(), callbacks=[callback], **(FIT | {"batch_size": None}))
    return of(callback)


@scenario
def an_exception_in_the_validation() -> Any:
    callback = PhaseCallback()
    trained, layer = failing()
    layer.error = ValueError("in the validation")
    with contextlib.suppress(ValueError):
        arm = Arm(layer, validation=True)
        trained.fit(X[:2], Y[:2], validation_data=(X[:2], Y[:2]), callbacks=[callback, arm], **FIT)
    return of(callback)


@scenario
def two_models() -> Any:
    with phasescope.start() as session:
        for _ in range(2):
            model().fit(X[:2], Y[:2], callbacks=[PhaseCallback()], **FIT)
        return phases(session)


@scenario
def a_loop_of_ones_own_that_dies_untold() -> Any:
    """Nothing stands around it, so what it left open ends with the next thing that begins."""
    callback = PhaseCallback()
    trained = model()
    trained.fit(X[:2], Y[:2], **FIT)  # which builds it
    with phasescope.start() as session:
        callbacks = keras.callbacks.CallbackList([callback], model=trained)
        callbacks.on_train_begin()
        callbacks.on_epoch_begin(0)
        callbacks.on_train_batch_begin(0)
        trained.fit(X[:2], Y[:2], callbacks=[callback], **FIT)
        return phases(session), notes(session)


@scenario
def copies() -> Any:
    callback = PhaseCallback()
    model().fit(X, Y, callbacks=[callback], **FIT)
    callback.set_model(None)
    for copied in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        model().fit(X, Y, callbacks=[copied], **FIT)
        assert copied.session is not callback.session
        assert of(copied) == of(callback)
    return True


@scenario
def weights() -> Any:
    def final(*callbacks: Any) -> Any:
        trained = model(keras.layers.Dropout(0.5), keras.layers.BatchNormalization(), **COMPILED)
        trained.fit(X, Y, epochs=2, validation_data=(X, Y), callbacks=list(callbacks), **FIT)
        return [[float(value).hex() for value in array.flatten()] for array in trained.get_weights()]

    return final(), final(PhaseCallback())


def own_bytes(variables: Any) -> int:
    """Return the bytes of Keras's variables, counted in the plainest way."""
    sizes = {"float32": 4, "float16": 2, "int8": 1, "int32": 4, "uint32": 4, "int64": 8}
    return sum(int(np.prod(each.shape)) * sizes[keras.backend.standardize_dtype(each.dtype)] for each in variables)


def made_of_a_fit(trained: Any) -> list[Any]:
    """Return what a fit was found to be made of, and the bytes of the weights, of all variables, and of the state."""
    callback = PhaseCallback()
    trained.fit(X, Y, callbacks=[callback], **FIT)
    assert callback.session is not None
    owned = [own_bytes(each) for each in (trained.weights, trained.variables, trained.optimizer.variables)]
    return [made_of(callback.session), *owned]


def forget_all() -> None:
    if BACKEND == "torch":
        forget_models()
    else:
        _keras_variables._models.clear()


@scenario
def categories() -> Any:
    forget_all()
    return made_of_a_fit(model())


@scenario
def categories_of_a_shared_a_frozen_and_a_normalised_layer() -> Any:
    forget_all()
    shared, frozen = keras.layers.Dense(4), keras.layers.Dense(4, trainable=False)
    inside = keras.Sequential([frozen, keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)])
    inputs = keras.layers.Input((4,))
    trained = keras.Model(inputs, keras.layers.Dense(1)(shared(inside(shared(inputs)))))
    trained.compile("adam", "mse", metrics=["mae"], **COMPILED)
    return [*made_of_a_fit(trained), own_bytes(trained.trainable_variables), own_bytes(frozen.weights)]


@scenario
def categories_of_quantised_weights_beside_trained_ones() -> Any:
    forget_all()
    trained = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    trained.layers[0].quantize("int8")
    trained.compile("adam", "mse", **COMPILED)
    return made_of_a_fit(trained)


@scenario
def categories_of_a_scaled_loss_in_half_precision() -> Any:
    forget_all()
    policy = keras.DTypePolicy("float16")
    layers = [keras.layers.Dense(8, dtype=policy), keras.layers.Dense(1, dtype="float32")]
    trained = keras.Sequential([keras.layers.Input((4,)), *layers])
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.9))
    trained.compile(scaled, "mse", **COMPILED)
    return made_of_a_fit(trained)


class OptimizersOfItsOwn(keras.Sequential):  # type: ignore[misc]
    """As a GAN has them: what `compile` made is left unused."""

    def train_step(self, *state_and_data: Any) -> Any:
        logs = {"loss": keras.ops.zeros(())}
        return (logs, state_and_data[0]) if len(state_and_data) > 1 else logs


@scenario
def categories_of_optimizers_that_are_not_known() -> Any:
    forget_all()
    trained = OptimizersOfItsOwn([keras.layers.Input((4,)), keras.layers.Dense(1)])
    trained.compile("adam", "mse", **COMPILED)
    return [*made_of_a_fit(trained), trained.optimizer.built]


@scenario
def a_model_is_let_go_with_its_categories() -> Any:
    trained = model()
    trained.fit(X, Y, callbacks=[PhaseCallback()], **FIT)
    gone = weakref.ref(trained)
    del trained
    gc.collect()
    return gone() is None


@scenario
def nothing_is_left_on_the_model() -> Any:
    trained, layer = failing()
    layer.error = ValueError("in the batch")
    with contextlib.suppress(ValueError):
        trained.fit(X, Y, validation_data=(X, Y), callbacks=[PhaseCallback(), Arm(layer)], **FIT)
    functions = [getattr(trained, f"{name}_function") for name in ("train", "test", "predict")]
    left = [function for function in functions if hasattr(function, "phasescope_original")]
    hooks = getattr(trained, "_forward_hooks", {})
    return not left and not hooks and "apply" not in vars(trained.optimizer)


@scenario
def no_hook_at_the_end_of_a_batch() -> Any:
    ends = ("on_batch_end", "on_train_batch_end", "on_test_batch_end", "on_predict_batch_end")
    return [end for end in ends if getattr(PhaseCallback, end) is not getattr(keras.callbacks.Callback, end)]


tell_all(*sys.argv[2:])
