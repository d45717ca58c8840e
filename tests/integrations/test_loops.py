"""What `phasescope run` sees of loops as people write them: the whole tree of each, in a line."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from support.scenarios import documented, folded, results_of, tree

# The loops run in a process of their own: here the frameworks need not be imported, which takes longer than most files.
MISSING = [name for name in ("torch", "keras", "accelerate", "transformers") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")


STEP = "step[data forward backward optimizer]"
BY_HAND = "step[forward backward optimizer]"
END = "step[data]"  # the fetch that only finds the end; summaries count neither
EVALUATE = "evaluate[data forward data forward data]"
LONG_EVALUATE = "evaluate[data forward data forward data forward data]"
ONE_LOOK = "evaluate[data forward]"
ACCUMULATED = "step[data forward backward data forward backward data forward backward optimizer]"
GAN = "forward (Discriminator) backward optimizer"
CRITIC = "forward (Generator) x 2 forward (Discriminator) backward optimizer"
ACTOR = "forward (Generator) forward (Discriminator) backward optimizer forward (Generator) backward optimizer"

TREES = {
    "epochs_with_evaluation": f"epoch[{STEP} x 2 {END} {EVALUATE}] x 2",
    "evaluation_that_is_told_by_the_mode_alone": f"epoch[{STEP} x 2 {END} {EVALUATE}] x 2",
    "evaluation_on_the_data_that_are_trained_on": f"epoch[{STEP} x 2 {END} evaluate[data forward data]] x 2",
    "evaluation_by_the_loader_that_is_trained_on": f"epoch[{STEP} x 2 {END} {EVALUATE}] x 2",
    # That the loader is evaluated, too, is known from its second time on.
    "engines": (
        f"epoch[{STEP} x 2 {END}] epoch[step[data] evaluate[forward data forward data] {LONG_EVALUATE}] "
        f"epoch[{STEP} x 2 {END} {EVALUATE} {LONG_EVALUATE}] x 2"
    ),
    "evaluation_without_no_grad": f"epoch[{STEP} x 2 {END} {EVALUATE}]",
    "evaluation_of_an_averaged_copy": (
        f"epoch[{STEP} x 2 {END} data evaluate[forward (Net) data forward (Net) data forward (Net) data]] "
        f"epoch[{STEP} x 2 {END} evaluate[data forward (Net) data forward (Net) data forward (Net) data]]"
    ),
    "batches_by_hand": (
        "evaluate[forward x 2] step[forward backward forward backward optimizer] x 2 "
        "evaluate[forward x 2] step[forward backward forward backward optimizer]"
    ),
    "policy_gradients": " ".join(["evaluate[forward x 2] step[forward x 2 backward optimizer] x 2"] * 2),
    "a_picture_is_trained": f"{BY_HAND} x 2",
    "closures": "step[optimizer[forward backward forward backward]] x 2",
    "a_step_by_hand": f"epoch[step[data forward backward] x 3 {END}]",
    "an_optimizer_of_its_own": f"epoch[{STEP} x 3 {END}]",
    "an_optimizer_that_overrides_step": f"{BY_HAND} x 2",
    "inference": "data evaluate[forward data forward data forward data]",
    "inference_in_no_grad": EVALUATE,
    "inner_model_of_a_wrapper": f"{BY_HAND} evaluate[forward]",
    "scripted": f"{BY_HAND} x 2",
    "two_networks": (f"epoch[step[data forward (Discriminator) backward forward (Generator) {GAN} {GAN}] x 2 {END}]"),
    "two_networks_of_one_class": " ".join(
        [
            f"step[{GAN} forward (Discriminator 2) backward optimizer] "
            "evaluate[forward (Discriminator 2) forward (Discriminator 3)]"
        ]
        * 2
    ),
    "two_networks_by_hand": " ".join([f"evaluate[forward (Generator)] step[{GAN} forward (Generator) {GAN}]"] * 2),
    "distillation": f"epoch[step[data forward (Discriminator) forward backward optimizer] x 2 {END}]",
    "accumulated": f"epoch[step[data forward backward data forward backward optimizer] x 2 {END}]",
    "two_loaders_at_once": f"epoch[step[data x 2 forward backward optimizer] x 2 {END}] x 2",
    "a_new_iterator_for_each_batch": f"epoch[{STEP} x 3]",
    "all_data_at_once": (f"epoch[step[data forward backward optimizer forward backward optimizer] {BY_HAND} x 2]"),
    "left_early_and_evaluated": f"epoch[{STEP} evaluate[forward]]",
    "a_batch_that_fails_is_skipped": f"epoch[step error UnseenError[data forward error RuntimeError] {STEP} x 2 {END}]",
    "interrupted": ("epoch error KeyboardInterrupt[step error KeyboardInterrupt[data forward backward optimizer]]"),
    "interrupted_behind_the_loop": f"{BY_HAND} x 3",
    # What calls the scenarios is a loop as well: the epoch's, as far as code shows.
    "interrupted_behind_a_loader_that_was_left": f"epoch error KeyboardInterrupt[{STEP} x 2]",
    "work_behind_the_loop": f"step[forward backward forward backward optimizer] step[forward backward] {BY_HAND} x 2",
    "an_optimizer_for_each_batch": f"{BY_HAND} x 3",
    "a_step_in_the_backward_pass": "step[forward backward] x 3",
    "gradients_by_grad": "step[forward backward] x 2",
    "a_perceptual_loss": f"epoch[step[data forward forward (Discriminator) backward optimizer] x 2 {END}]",
    "looked_ahead": f"epoch[step[data x 2 forward backward optimizer] {END} {BY_HAND}] x 2",
    "an_optimizer_around_another": f"epoch[step[data forward backward data forward backward optimizer] x 2 {END}]",
    "a_model_of_keras": f"{BY_HAND} x 2",
    "accelerated": (
        "epoch[step[data x 2 forward backward data forward backward optimizer] "
        "step[data forward backward data forward backward optimizer] evaluate[data x 2 forward data forward]] x 2"
    ),
    "generated": f"{BY_HAND} x 2 evaluate[forward x 3]",
    "after_an_interrupt_in_the_middle_of_a_mark": f"epoch[{STEP} {END}]",
    "instrumented_in_the_middle": f"epoch[{STEP} {END}] forward backward optimizer {BY_HAND}",
    "another_session": f"epoch[{STEP}]",
    "a_model_that_compares_and_hashes_as_it_likes": f"{BY_HAND} x 2",
    "new_data_for_each_epoch": f"epoch[{STEP} x 2 {END}] x 3",
    "a_penalty_on_gradients": (
        "epoch[step[data forward (Generator) forward (Discriminator) x 3 backward optimizer] "
        "step[data forward (Generator) forward (Discriminator) x 3 backward optimizer "
        f"forward (Generator) {GAN}] {END}]"
    ),
    "a_network_that_comes_later": (
        f"{BY_HAND} step[forward (Generator) {GAN} forward (Generator) backward optimizer] x 2"
    ),
    "a_new_model_for_each_fold": f"epoch[{STEP} x 2 {END} evaluate[forward]] x 2",
    "trials_by_hand": f"{BY_HAND} x 4",
    "trials_that_are_evaluated": " ".join([f"{BY_HAND} x 2 evaluate[forward]"] * 2),
    "trials_of_two_networks": f"step[forward (Generator) {GAN} forward (Generator) backward optimizer] x 4",
    "more_layers_are_trained_later": f"{BY_HAND} x 4",
    "trained_in_a_thread": f"{BY_HAND} x 4",
    "trained_in_two_threads_in_turn": f"{BY_HAND} x 6",
    "a_thread_serves_while_another_trains": " ".join([f"{BY_HAND} forward"] * 2),
    "shapes_are_asked_for": BY_HAND,
}


PUBLIC = {
    "lbfgs_over_collocation_points": "step[optimizer[forward backward forward backward]] x 2",
    "functional_with_grad": f"epoch[step[data forward backward] x 2 {END}]",
    "functional_and_evaluated": f"epoch[step[data forward backward] x 2 {END} {EVALUATE}] x 2",
    "an_equation_in_the_loss": f"{BY_HAND} x 2",
    "per_sample_gradients_into_an_optimizer": f"epoch[{STEP} x 2 {END}]",
    "scaled_and_accumulated_without_sync": (
        f"epoch[step[data forward backward data forward backward optimizer] x 2 {END}]"
    ),
    "language_model_by_hand": " ".join(
        ["evaluate[forward x 4] step[forward backward forward backward optimizer] x 2"] * 2
    ),
    "sharpness_aware_in_two_calls": f"epoch[step[data forward backward forward backward optimizer] x 2 {END}]",
    "sharpness_aware_by_closure": f"epoch[step[data forward backward optimizer[forward backward]] x 2 {END}]",
    "deep_q_learning": (
        "evaluate[forward x 3] step[forward forward (Net) backward optimizer]"
        + " evaluate[forward] step[forward forward (Net) backward optimizer]" * 3
    ),
    "meta_learning": "step[forward x 4 backward optimizer] x 2",
    "momentum_contrast": f"epoch[step[data forward forward (Net) backward optimizer] x 2 {END}]",
    "adversarial_examples": (
        f"epoch[step[data forward backward forward backward forward backward optimizer] x 2 {END}]"
    ),
    "cached_gradients": (
        f"epoch[step[data forward x 2 backward forward backward forward backward optimizer] x 4 {END}]"
    ),
    "truncated_back_propagation": f"{BY_HAND} x 3",
    "a_loader_begun_anew_at_its_end": f"epoch[{STEP} x 2 {END}] x 2 epoch[{STEP}]",
    "endless_data_and_a_look_at_intervals": (
        "epoch[" + " ".join([f"{STEP} x 2 evaluate[data forward data forward data]"] * 2) + "]"
    ),
    "two_optimizers_of_one_model": "step[forward backward forward backward optimizer x 2] x 3",
    "two_optimizers_in_turn_by_epoch": f"epoch[{STEP} x 2 {END}] x 2",
    "a_trainer_that_validates_first": f"{EVALUATE} epoch[{STEP} x 2 {END} {EVALUATE}] x 2",
    "closures_over_batches": (
        "epoch[step[data optimizer[forward backward forward backward]] x 2 step[data] evaluate[forward]] x 2"
    ),
    "endless_data_that_end_amid_an_accumulation": (
        "epoch[step[data forward backward data forward backward data forward backward data x 2 forward backward "
        "optimizer]] epoch[step[data forward backward data forward backward data x 2 forward backward data forward "
        "backward optimizer]]"
    ),
    "endless_data_from_which_is_fetched_before_the_mode_is_set": (
        f"epoch[{STEP} evaluate[data forward] {STEP} evaluate[data x 2 forward] {END}] "
        f"epoch[{STEP} evaluate[data x 2 forward] {STEP} evaluate[data x 2 forward]]"
    ),
    "accumulated_with_a_rest": (
        "epoch[step[data forward backward data forward backward optimizer] step[data forward backward data]] x 2"
    ),
    "an_actor_that_is_trained_in_every_second_turn": " ".join([f"step[{CRITIC}] step[{CRITIC} {ACTOR} {ACTOR}]"] * 2),
    "tensors_without_a_model_or_an_optimizer": "step[backward] x 3",
    "passes_over_an_endless_iterator": (
        f"epoch[{ACCUMULATED} step[data forward backward] {ONE_LOOK}] "
        f"epoch[step[data forward backward data forward backward optimizer] "
        f"step[data forward backward data forward backward] {ONE_LOOK}] "
        f"epoch[{STEP} {ACCUMULATED} {ONE_LOOK}]"
    ),
    "passes_over_an_endless_iterator_alone": f"epoch[{STEP} x 2] x 2",
    "one_batch_of_an_endless_iterator_at_a_time": f"epoch[{STEP} x 5]",
    "evaluated_amid_an_accumulation": (
        f"epoch[step[data forward backward data forward backward {EVALUATE} data forward backward optimizer] "
        f"step[data forward backward {EVALUATE} data forward backward data forward backward optimizer] "
        f"{EVALUATE} {END}] x 2"
    ),
    "loaders_that_are_looked_into_before": f"data x 2 epoch[{STEP} x 2 {END} {EVALUATE}] x 2",
    # What calls the scenarios is a loop as well: the epoch's, as far as code shows.
    "trainings_without_an_optimizer": (
        "step[forward backward] x 2 epoch[step[data forward backward] x 2 step[forward backward] x 2]"
    ),
    "a_training_without_an_optimizer_after_one_with": (
        f"{BY_HAND} x 2 epoch[step[data forward (Discriminator) backward] x 2 {END} "
        "step[forward (Discriminator) backward] x 2]"
    ),
    # That an optimizer trains what a model of others is given is known from the first backward pass on.
    "evaluation_that_is_told_by_an_argument": (
        f"epoch[{STEP} x 2 {END} data evaluate[forward data forward data]] epoch[{STEP} x 2 {END} {EVALUATE}]"
    ),
    "evaluation_that_is_told_by_an_argument_without_an_optimizer": (
        f"epoch[step[data forward backward] x 2 {END} data evaluate[forward data forward data]] "
        f"epoch[step[data forward backward] x 2 {END} {EVALUATE}]"
    ),
    "predictions_with_gradients_after_two_layers_were_trained_by_themselves": (
        f"step[forward (Generator) backward optimizer] x 2 step[{GAN}] x 2 "
        "step[forward (Generator) forward (Discriminator)]"
    ),
    "models_given_what_is_trained": (
        "forward (Discriminator) step[backward optimizer] step[forward (Discriminator) backward optimizer] x 5"
    ),
    "a_model_is_called_after_a_loop_without_an_optimizer": "epoch[step[data forward backward] step[forward]]",
    "folds_that_take_turns": " ".join(
        [
            f"epoch[step[data {model} backward optimizer] {END} evaluate[data {model} data]]"
            for model in ("forward (Generator)", "forward (Generator 2)")
        ]
        * 2
    ),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return results_of("loops.py", tmp_path_factory.mktemp("loops"))


@pytest.mark.parametrize("loop", TREES)
def test_a_loop_has_its_tree_and_nothing_closes_out_of_order(told: dict[str, Any], loop: str) -> None:
    phases, notes = told[loop]
    assert folded(phases) == TREES[loop]
    assert notes == []


def test_every_loop_is_looked_at(told: dict[str, Any]) -> None:
    assert told.keys() == TREES.keys()


def test_the_tree_is_the_documented_one(told: dict[str, Any]) -> None:
    assert tree(told["epochs_with_evaluation"][0]) == documented("run: a loop of your own")


@pytest.fixture(scope="module")
def told_of_public(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return results_of("public_loops.py", tmp_path_factory.mktemp("public_loops"))


@pytest.mark.parametrize("loop", PUBLIC)
def test_the_loops_of_public_programs_have_their_trees(told_of_public: dict[str, Any], loop: str) -> None:
    phases, notes = told_of_public[loop]
    assert folded(phases) == PUBLIC[loop]
    assert notes == []
