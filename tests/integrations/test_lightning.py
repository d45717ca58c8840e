"""The Lightning callback, in real trainers on the CPU."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest

from support.scenarios import documented, results_of, tree

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs lightning")

BATCH = ["data", "batch", "batch/forward", "batch/backward", "batch/optimizer"]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return results_of("lightning_fits.py", tmp_path_factory.mktemp("lightning"), "lightning.pytorch")


def inside(path: str, phases: list[str]) -> list[str]:
    return [path, *(f"{path}/{phase}" for phase in phases)]


def test_two_epochs_with_validation_are_the_documented_tree(told: dict[str, Any]) -> None:
    phases, notes, still_wrapped = told["two_epochs_with_validation"]
    epoch = inside("epoch", [*BATCH, *BATCH, *inside("validation", ["data", "forward"]), "checkpoint"])
    sanity_check = inside("sanity_check", ["data", "forward"])
    assert phases == inside("fit", ["setup", *sanity_check, *epoch, *epoch])
    assert tree(phases) == documented("Lightning: fit")
    assert notes == []
    assert not still_wrapped


def test_it_is_known_what_the_memory_is_made_of(told: dict[str, Any]) -> None:
    found, parameters = told["categories"]
    assert found["parameters"] == found["gradients"] == parameters
    assert found["optimizer_state"] == 2 * parameters + 2 * 4, "Adam's, and the number of its steps for each of two"
    assert found["inputs"] == 2 * 4 * 4, "a batch"


@pytest.mark.skipif(importlib.util.find_spec("pytorch_lightning") is None, reason="needs pytorch-lightning")
def test_the_other_package_is_marked_alike(told: dict[str, Any], tmp_path: Path) -> None:
    other = results_of("lightning_fits.py", tmp_path, "pytorch_lightning", "two_epochs_with_validation", "weights")
    assert other["two_epochs_with_validation"] == told["two_epochs_with_validation"]
    assert other["weights"][0] == other["weights"][1]


def test_with_accumulation_only_some_batches_have_a_step(told: dict[str, Any]) -> None:
    assert told["gradient_accumulation"] == inside("fit", ["setup", *inside("epoch", [*BATCH[:-1], *BATCH])])


def test_manual_optimisation_shows_each_optimizer_and_leaves_them_no_hook(told: dict[str, Any]) -> None:
    phases, hooks = told["manual_optimisation"]
    rounds = ["forward", "backward", "optimizer"] * 2
    batch = inside("batch", [*rounds, "forward"])
    assert phases == inside("fit", ["setup", *inside("epoch", ["data", *batch])])
    assert hooks == [0, 0]


def test_an_exception_ends_what_is_open_and_a_second_fit_is_as_the_first(told: dict[str, Any]) -> None:
    phases, notes, in_my_session, still_wrapped = told["an_exception_in_a_batch_and_then_a_second_fit"]
    failed = ["data", "batch error ValueError", "batch/forward error ValueError"]
    first = ["fit error ValueError", "fit/setup", "fit/epoch error ValueError"]
    first += [f"fit/epoch/{phase}" for phase in [*BATCH, *failed]]
    second = inside("second", inside("fit", ["setup", *inside("epoch", BATCH)]))
    assert phases == ["mine", *(f"mine/{phase}" for phase in [*first, *second])]
    assert notes == []
    assert in_my_session
    assert not still_wrapped


def test_ctrl_c_ends_what_is_open_with_it(told: dict[str, Any]) -> None:
    errors = [phase for phase in told["keyboard_interrupt"] if " error KeyboardInterrupt" in phase]
    assert [phase.partition(" ")[0] for phase in errors] == inside("fit", inside("epoch", inside("batch", ["forward"])))
    assert not [phase for phase in told["keyboard_interrupt"] if "open" in phase or "abandoned" in phase]


def test_two_models_have_a_fit_each(told: dict[str, Any]) -> None:
    assert told["two_models"] == inside("fit", ["setup", *inside("epoch", BATCH)]) * 2


def test_validate_test_and_predict_are_the_documented_tree(told: dict[str, Any]) -> None:
    for root, phases in zip(("validation", "test", "predict"), told["validate_test_predict"], strict=True):
        assert phases == inside(root, ["setup", *["data", "forward"] * 2])
        assert [path.replace(root, "validation", 1) for path in tree(phases)] == documented("Lightning: validate")


def test_a_validation_between_two_batches_lies_in_the_epoch(told: dict[str, Any]) -> None:
    validation = inside("validation", ["data", "forward"])
    epoch = [*BATCH, *BATCH, "data", *validation, *BATCH, *BATCH, *validation]
    assert told["validation_within_the_epoch"] == inside("fit", ["setup", *inside("epoch", epoch)])


def test_a_checkpoint_between_two_batches_is_no_part_of_data(told: dict[str, Any]) -> None:
    epoch = [*BATCH, "data", "checkpoint", *BATCH, "checkpoint"]
    assert told["checkpoints_between_batches"] == inside("fit", ["setup", *inside("epoch", epoch)])


def test_the_final_weights_are_the_same_to_the_bit(told: dict[str, Any]) -> None:
    without, marked = told["weights"]
    assert without == marked


def test_figures_go_to_the_logger_only_when_asked_for(told: dict[str, Any]) -> None:
    rows, keys_without = told["logged"]
    assert [row["step"] for row in rows] == ["2", "4"]
    names = ("data", "forward", "backward", "optimizer", "batch")
    expected = {f"phasescope/{figure}/{name}" for figure in ("peak_allocated_bytes", "duration_ms") for name in names}
    for row in rows:
        assert set(row) == {*expected, "step"}
        assert int(row["phasescope/peak_allocated_bytes/batch"]) > 50 * 2**20
        parts = sum(float(row[f"phasescope/duration_ms/{name}"]) for name in names[1:-1])
        assert 0 < parts < float(row["phasescope/duration_ms/batch"])
    assert keys_without == []


def test_copies_of_the_callback_mark_their_own_fit(told: dict[str, Any]) -> None:
    assert told["copies"]


def test_wrong_arguments_raise_at_once(tmp_path: Path) -> None:
    told = results_of("wrong_arguments.py", tmp_path, "lightning")
    assert told == {
        "{'log_every_n_batches': 0}": "ValueError: log_every_n_batches must be 1 or more, or None for never, not 0",
        "{'log_every_n_batches': '1'}": "TypeError: log_every_n_batches must be a whole number or None, not a str",
        "{'log_every_n_batches': True}": "TypeError: log_every_n_batches must be a whole number or None, not a bool",
    }
