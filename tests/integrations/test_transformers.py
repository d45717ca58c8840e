"""The Hugging Face callback, in a real Trainer on the CPU."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest

from support.scenarios import documented, results_of, tree

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("transformers", "accelerate", "torch")),
    reason="needs transformers[torch]",
)

STEP = ["data", "step", "step/forward", "step/backward", "step/optimizer"]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return results_of("hugging_face.py", tmp_path_factory.mktemp("transformers"))


def inside(path: str, phases: list[str]) -> list[str]:
    return [path, *(f"{path}/{phase}" for phase in phases)]


def failed(error: str) -> list[str]:
    """A training whose second step raises just before its optimizer's."""
    second = ["data", f"step error {error}", "step/forward", "step/backward", f"step/optimizer error {error}"]
    epoch = [f"epoch error {error}", *(f"epoch/{phase}" for phase in [*STEP, *second])]
    return [f"train error {error}", *(f"train/{phase}" for phase in ["setup", *epoch])]


def test_two_epochs_with_validation_are_the_documented_tree(told: dict[str, Any]) -> None:
    phases, notes = told["two_epochs_with_validation"]
    epoch = inside("epoch", [*STEP, *STEP, "evaluate", "save"])
    assert phases == inside("train", ["setup", *epoch, *epoch])
    assert tree(phases) == documented("Hugging Face: train")
    assert notes == []


def test_with_accumulation_a_step_has_several_forwards_and_backwards(told: dict[str, Any]) -> None:
    step = ["data", *inside("step", ["forward", "backward", "forward", "backward", "optimizer"])]
    assert told["gradient_accumulation"] == inside("train", ["setup", *inside("epoch", [*step, *step])])


def test_evaluations_and_saves_between_steps_are_no_part_of_data(told: dict[str, Any]) -> None:
    epoch = inside("epoch", [*STEP, "evaluate", "save"] * 2)
    assert told["evaluation_between_steps"] == inside("train", ["setup", *epoch])


def test_an_exception_ends_what_is_open_and_a_second_training_is_as_the_first(told: dict[str, Any]) -> None:
    phases, notes, in_my_session = told["an_exception_in_a_step_and_then_a_second_training"]
    second = inside("second", inside("train", ["setup", *inside("epoch", [*STEP, *STEP])]))
    assert phases == ["mine open", *(f"mine/{phase}" for phase in [*failed("ValueError"), *second])]
    assert notes == []
    assert in_my_session


def test_it_is_known_what_the_memory_is_made_of(told: dict[str, Any]) -> None:
    found, own = told["categories"]
    assert {name: found[name] for name in own} == own
    assert found["gradients"] == own["parameters"], "the embedding is tied to the head"
    assert found["inputs"] >= 2 * 2 * 8 * 8, "a batch: two samples of ids and of labels"


def test_ctrl_c_ends_what_is_open_with_it(told: dict[str, Any]) -> None:
    assert told["keyboard_interrupt"] == failed("KeyboardInterrupt")


def test_added_after_the_trainer_was_made_it_sees_as_much(told: dict[str, Any]) -> None:
    assert told["added_later"] == failed("ValueError")


def test_a_trainer_without_it_is_not_marked(told: dict[str, Any]) -> None:
    assert told["unmarked"] == []


def test_two_models_have_a_training_each(told: dict[str, Any]) -> None:
    assert told["two_models"] == inside("train", ["setup", *inside("epoch", [*STEP, *STEP])]) * 2


def test_evaluate_and_predict_alone_are_phases_and_the_methods_still_look_like_themselves(told: dict[str, Any]) -> None:
    assert told["evaluate_and_predict"] == [["evaluate", "predict"], "train", True]


def test_the_final_weights_are_the_same_to_the_bit(told: dict[str, Any]) -> None:
    without, marked = told["weights"]
    assert without == marked


def test_figures_reach_those_that_report_only_when_asked_for(told: dict[str, Any]) -> None:
    asked, not_asked = told["logged"]
    names = ("data", "forward", "backward", "optimizer", "step")
    expected = sorted(
        f"phasescope/{figure}/{name}" for figure in ("peak_allocated_bytes", "duration_ms") for name in names
    )
    assert asked == [expected, expected, []], "two steps, and the metrics of the whole"
    assert not_asked == [[], [], []]


def test_it_warns_once_of_metrics_that_spoil_peaks(told: dict[str, Any]) -> None:
    (warning,) = told["spoiled_peaks"]
    assert "skip_memory_metrics=False" in warning


def test_a_subclass_that_has_a_loss_of_its_own_is_split_too_and_evaluates_without(told: dict[str, Any]) -> None:
    """As in TRL: `compute_loss` calls that of the class above, and `training_step` does so too."""
    tree, has_its_own = told["own_loss"]
    assert tree == inside("train", ["setup", *inside("epoch", [*STEP, *STEP, "evaluate"])])
    assert has_its_own


def test_a_subclass_with_a_step_of_its_own_is_split_as_far_as_it_tells(told: dict[str, Any]) -> None:
    both = ["data", "step", "step/forward_backward", "step/optimizer"]
    assert told["own_steps"] == [inside("train", ["setup", *inside("epoch", step * 2)]) for step in (STEP, both)]


def test_an_optimizer_tells_of_its_steps_where_the_trainer_does_not(told: dict[str, Any]) -> None:
    """As with transformers 4.36."""
    assert told["steps_not_told"] == [inside("train", ["setup", *inside("epoch", [*STEP, *STEP])]), 0]


def test_what_is_saved_meanwhile_has_nothing_of_ours(told: dict[str, Any]) -> None:
    assert told["saved_meanwhile"] == [True, []]


def test_trainer_and_model_are_not_kept_alive(told: dict[str, Any]) -> None:
    assert told["kept_alive"] == [True, True]


def test_wrong_arguments_raise_at_once(tmp_path: Path) -> None:
    told = results_of("wrong_arguments.py", tmp_path, "transformers")
    assert told == {"{'log_figures': 1}": "TypeError: log_figures must be True or False, not a int"}
