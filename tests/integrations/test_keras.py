"""The Keras callback, in real fits on the CPU, on each backend of Keras that is installed."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from support.fakes.processes import new_python
from support.scenarios import documented, results_of, tree

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="needs keras")

TORCH_ONLY = {"data", "forward", "backward", "optimizer"}


class Told(NamedTuple):
    """What the scenarios told on one backend."""

    backend: str
    scenarios: dict[str, Any]

    def seen(self, paths: Iterable[str]) -> list[str]:
        """Of these paths, the ones that this backend lets see."""
        return [path for path in paths if self.backend == "torch" or path.rpartition("/")[2] not in TORCH_ONLY]


@pytest.fixture(scope="module", params=["tensorflow", "torch", "jax"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"needs {request.param}")
    return Told(request.param, results_of("keras_fits.py", tmp_path_factory.mktemp("keras"), request.param))


def inside(path: str, phases: list[str]) -> list[str]:
    return [path, *(f"{path}/{phase}" for phase in phases)]


TRAINED = ["data", *inside("batch", ["forward", "backward", "optimizer"])]
TESTED = ["data", *inside("batch", ["forward"])]
FIT_OF_ONE = inside("fit", inside("epoch", TRAINED))


@pytest.mark.parametrize(
    "scenario",
    [
        "categories",
        "categories_of_a_shared_a_frozen_and_a_normalised_layer",
        "categories_of_quantised_weights_beside_trained_ones",
        "categories_of_a_scaled_loss_in_half_precision",
    ],
)
def test_the_categories_are_the_variables_own_bytes(told: Told, scenario: str) -> None:
    found, weights, variables, state, *_ = told.scenarios[scenario]
    if told.backend == "torch" and "quantised" in scenario:
        variables += 4 * 8 * 4  # Keras lets go of the weights that it has quantised, and torch's module does not
    assert found["parameters"] + found["buffers"] == variables >= weights
    assert found["optimizer_state"] == state
    assert ("gradients" in found) == (told.backend == "torch"), "where they pass within a batch they are not known"


def test_what_is_no_weight_for_training_is_a_buffer_unless_it_is_frozen_or_quantised(told: Told) -> None:
    if told.backend == "torch":
        pytest.skip("all of Keras's variables are parameters of torch's there")
    found, _, variables, _, trained, frozen = told.scenarios["categories_of_a_shared_a_frozen_and_a_normalised_layer"]
    assert found["parameters"] == trained + frozen
    assert found["buffers"] == variables - trained - frozen > 0
    found, weights, *_ = told.scenarios["categories_of_quantised_weights_beside_trained_ones"]
    assert (found["parameters"], found["buffers"]) == (weights, 0)


def test_the_state_of_an_optimizer_that_trains_nothing_is_not_the_trainings(told: Told) -> None:
    """Keras makes one by default; a `train_step` with optimizers of its own leaves it as it is."""
    found, weights, *_, is_built = told.scenarios["categories_of_optimizers_that_are_not_known"]
    assert found.get("parameters") == (None if told.backend == "torch" else weights), "there, by its steps"
    assert is_built or "optimizer_state" not in found


def test_a_model_is_let_go_when_it_would_have_been(told: Told) -> None:
    assert told.scenarios["a_model_is_let_go_with_its_categories"]


def test_two_epochs_with_validation_are_the_documented_tree(told: Told) -> None:
    phases = told.scenarios["two_epochs_with_validation"]
    epoch = inside("epoch", [*TRAINED * 3, *inside("validation", [*TESTED, "data"])])
    assert phases == told.seen(inside("fit", [*epoch, *epoch]))
    assert tree(phases) == told.seen(documented("Keras: fit"))


def test_evaluate_and_predict_are_the_documented_tree(told: Told) -> None:
    evaluated, predicted = told.scenarios["evaluate_and_predict"]
    assert evaluated == told.seen(inside("evaluate", TESTED))
    assert predicted == told.seen(inside("predict", TESTED * 2))
    for phases, root in ((evaluated, "evaluate"), (predicted, "predict")):
        assert [path.replace(root, "evaluate", 1) for path in tree(phases)] == told.seen(documented("Keras: evaluate"))


def test_a_model_without_an_optimizer_predicts_in_phases_too(told: Told) -> None:
    phases = told.scenarios["predict_of_a_model_without_an_optimizer"]
    assert phases == told.seen(inside("predict", TESTED))


def test_a_batch_is_what_keras_executes_at_once(told: Told) -> None:
    if told.backend == "torch":
        pytest.skip("Keras has no steps_per_execution there")
    phases, numbers = told.scenarios["several_steps_per_execution"]
    assert phases == inside("fit", inside("epoch", ["batch", "batch"]))
    assert numbers == [{"n": 0}, {"n": 2}]


def test_with_accumulation_every_batch_calls_the_optimizer(told: Told) -> None:
    assert told.scenarios["gradient_accumulation"] == told.seen(inside("fit", inside("epoch", TRAINED * 3)))


def test_an_exception_ends_what_is_open_and_a_second_fit_is_as_the_first(told: Told) -> None:
    phases, notes, in_my_session = told.scenarios["an_exception_in_a_batch_and_then_a_second_fit"]
    failed = ["fit error ValueError", "fit/epoch error ValueError"]
    failed += [f"fit/epoch/{phase}" for phase in [*TRAINED, "data"]]
    failed += ["fit/epoch/batch error ValueError"]
    if told.backend == "torch":
        failed += ["fit/epoch/batch/forward error ValueError"]
    assert phases == told.seen(inside("mine", [*failed, *inside("second", FIT_OF_ONE)]))
    assert notes == []
    assert in_my_session


def test_ctrl_c_ends_what_is_open_with_it(told: Told) -> None:
    phases = told.scenarios["keyboard_interrupt"]
    errors = [phase for phase in phases if phase.endswith(" error KeyboardInterrupt")]
    expected = told.seen(inside("fit", inside("epoch", inside("batch", ["forward"]))))
    assert [phase.partition(" ")[0] for phase in errors] == expected
    assert not [phase for phase in phases if " open" in phase or " abandoned" in phase]


def test_data_that_raise_end_what_is_open(told: Told) -> None:
    phases = told.scenarios["an_exception_while_data_are_fetched"]
    ended = [phase.partition(" ")[0] for phase in phases if " error " in phase]
    last = "data" if told.backend == "torch" else "batch"
    assert ended == ["fit", "fit/epoch", f"fit/epoch/{last}"]


def test_an_exception_in_the_validation_ends_the_fit_too(told: Told) -> None:
    phases = told.scenarios["an_exception_in_the_validation"]
    ended = [phase.partition(" ")[0] for phase in phases if phase.endswith(" error ValueError")]
    assert ended == told.seen(inside("fit", inside("epoch", inside("validation", inside("batch", ["forward"])))))


def test_two_models_have_a_fit_each(told: Told) -> None:
    assert told.scenarios["two_models"] == told.seen(FIT_OF_ONE * 2)


def test_what_a_loop_of_ones_own_left_open_ends_with_the_next_fit(told: Told) -> None:
    phases, notes = told.scenarios["a_loop_of_ones_own_that_dies_untold"]
    untold = [f"{path} error UnseenError" for path in ("fit", "fit/epoch", "fit/epoch/batch")]
    if told.backend == "torch":
        untold.insert(2, "fit/epoch/data")
    assert phases == [*untold, *told.seen(FIT_OF_ONE)]
    assert notes == []


def test_copies_of_the_callback_mark_their_own_fit(told: Told) -> None:
    assert told.scenarios["copies"]


def test_the_final_weights_are_the_same_to_the_bit(told: Told) -> None:
    without, marked = told.scenarios["weights"]
    assert without == marked


def test_nothing_is_left_on_a_model_whose_fit_raised(told: Told) -> None:
    assert told.scenarios["nothing_is_left_on_the_model"]


def test_it_has_no_hook_for_which_keras_fetches_the_loss_of_every_batch(told: Told) -> None:
    assert told.scenarios["no_hook_at_the_end_of_a_batch"] == []


def test_without_keras_the_answer_is_the_pip_line() -> None:
    done = new_python("import sys\nsys.modules['keras'] = None\nimport phasescope.integrations.keras")
    assert done.stderr.strip().endswith(
        "ModuleNotFoundError: phasescope.integrations.keras needs keras: pip install 'keras>=3' tensorflow"
    )
