"""`instrument`: what it marks in plain loops and under DDP and FSDP2, and that the training does not feel it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from support.scenarios import documented, results_of, tree

torch = pytest.importorskip("torch")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEP = ["data", "forward", "backward", "optimizer"]
UNMARKED = [0, 0]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return results_of("plain_torch.py", tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def by_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return results_of("distributed_torch.py", tmp_path_factory.mktemp("distributed"))


def inside(path: str, phases: list[str]) -> list[str]:
    return [f"{path}/{phase}" for phase in phases]


def test_two_epochs_with_validation(told: dict[str, Any]) -> None:
    epoch = ["epoch", *inside("epoch", [*STEP, *STEP, "data", "validation", "validation/forward"])]
    assert told["two_epochs_with_validation"] == [[*epoch, *epoch], []]


def test_the_tree_is_the_documented_one(told: dict[str, Any]) -> None:
    with_depth_1 = told["submodules"][:5]
    assert ["data", *tree(with_depth_1)] == documented("Torch")


def test_accumulated_gradients_have_a_backward_for_each_forward(told: dict[str, Any]) -> None:
    phases, notes = told["gradient_accumulation"]
    assert phases == [*STEP[:3], *STEP[:3], "data", "optimizer"]
    assert notes == []


def test_exceptions_end_the_phases_and_the_next_step_is_as_if_nothing_had_been(told: dict[str, Any]) -> None:
    phases = told["exceptions_and_then_on"]["phases"]
    assert phases[:4] == [
        "submodule",
        "submodule/forward error ValueError",
        "submodule/forward/first",
        "submodule/forward/rest error ValueError",
    ]
    assert "backward/backward error ValueError" in phases
    assert "step/optimizer error UnseenError" in phases
    assert phases[-6:] == [
        "after",
        *inside("after", ["forward", "forward/first", "forward/rest", "backward", "optimizer"]),
    ]
    assert not [phase for phase in phases if "open" in phase or "abandoned" in phase]


def test_after_a_keyboard_interrupt_it_goes_on(told: dict[str, Any]) -> None:
    assert told["keyboard_interrupt_and_then_on"] == ["forward error KeyboardInterrupt", *STEP[1:]]


def test_it_can_be_instrumented_again_after_undo_and_then_not_at_all(told: dict[str, Any]) -> None:
    assert told["instrumented_twice_over"] == [*STEP, *STEP, "data"] * 2


def test_two_models_whose_gradients_meet_have_one_backward(told: dict[str, Any]) -> None:
    judge = ["judge", *inside("judge", ["forward", "forward", "forward", "backward", "optimizer"])]
    maker = ["maker", *inside("maker", ["forward", "forward", "backward", "optimizer"])]
    assert told["two_models"] == [[*judge, *maker] * 2, []]


def test_a_step_of_an_optimizer_that_two_models_share_is_one_phase(told: dict[str, Any]) -> None:
    assert told["two_models_with_one_optimizer"] == STEP[1:] * 2


def test_the_final_weights_are_the_same_to_the_bit(told: dict[str, Any]) -> None:
    without, instrumented = told["weights"]
    assert without == instrumented


def test_depth_shows_submodules(told: dict[str, Any]) -> None:
    assert told["submodules"][5:] == [
        "forward",
        *inside("forward", ["first", "first/linear", "rest", "rest/0", "rest/1"]),
        *STEP[2:],
    ]


def test_compiled_models_keep_their_one_graph(told: dict[str, Any]) -> None:
    of_compiled, as_a_part, breaks = told["compiled"]
    assert of_compiled == STEP[1:]
    assert as_a_part[:2] == ["backward", "optimizer"], "inside of compiled code nothing is marked"
    assert breaks == 0


def test_recomputed_forwards_lie_inside_of_the_backward(told: dict[str, Any]) -> None:
    step = ["forward", "forward/first", "forward/rest", "backward", "backward/first", "optimizer"]
    assert told["checkpointed"]["reentrant False"] == [step * 2, []]
    assert told["checkpointed"]["reentrant True"] == [step * 2, []]
    assert told["checkpointed"]["whole"] == [["forward", "backward", "backward/forward", "optimizer"], []]


def test_undo_leaves_no_hook_behind(told: dict[str, Any]) -> None:
    before, during, after = told["left_behind"]
    assert before == 0
    assert during == 2, "those of the optimizer's step"
    assert after == 0


def test_nothing_of_the_training_is_kept_alive(told: dict[str, Any]) -> None:
    assert told["kept_alive"] == [True] * 4


def test_copies_of_the_model_are_not_marked_and_have_the_bytes_that_they_would_have_without_us(
    told: dict[str, Any],
) -> None:
    phases, as_without = told["copies"]
    assert phases == ["backward"] * 2, "any backward pass is"
    assert as_without == {"pickled": True, "saved": True}


def test_a_model_that_calls_itself_nests(told: dict[str, Any]) -> None:
    assert told["recursion"] == ["forward", "forward/forward", "forward/forward/forward", "backward", "forward"]


def test_a_call_that_leaves_out_torchs_is_marked_once_until_undo(told: dict[str, Any]) -> None:
    assert told["own_call"] == ["forward", "forward/part", "backward", "optimizer"]


def test_what_a_closure_does_lies_inside_of_the_step(told: dict[str, Any]) -> None:
    phases, notes = told["closure"]
    assert phases == ["optimizer", *inside("optimizer", ["forward", "backward"] * 2)]
    assert notes == []


def test_a_backward_ends_with_its_pass_whichever_parameters_get_a_gradient(told: dict[str, Any]) -> None:
    phases, notes = told["unused_parameters"]
    assert phases == ["forward", "mine", "mine/backward"] * 3
    assert notes == []


def test_what_data_parallelism_does_at_the_end_of_a_pass_lies_inside_of_the_backward(told: dict[str, Any]) -> None:
    assert told["at_the_end_of_a_pass"] == [["forward", "backward", "backward/reduction"], []]


def test_a_backward_is_told_whatever_the_model_returned(told: dict[str, Any]) -> None:
    assert told["outputs"] == [["forward", "backward"]] * 4


def test_a_backward_in_another_thread_mis_nests_nothing(told: dict[str, Any]) -> None:
    assert told["backward_in_another_thread"] == [["step", "step/forward", "backward", "step/optimizer"], []]


def test_it_takes_nothing_to_the_host(told: dict[str, Any]) -> None:
    without, instrumented = told["syncs"]
    assert instrumented == without


@pytest.mark.parametrize("how", ["ddp", "ddp, inner", "fsdp"])
def test_every_rank_has_its_phases_and_the_same_weights(by_ranks: dict[str, Any], how: str) -> None:
    for rank in ("0", "1"):
        phases, notes, weights = by_ranks[rank][f"{how} True"]
        assert phases == STEP[1:] * 3
        assert notes == []
        unmarked, _, without = by_ranks[rank][f"{how} False"]
        assert unmarked == []
        assert weights == without


def test_a_backward_ends_when_its_gradients_are_reduced(by_ranks: dict[str, Any]) -> None:
    assert min(by_ranks[rank]["reduced late"] for rank in ("0", "1")) >= 0.3


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda i, m: i(1), TypeError, "model must be a torch.nn.Module, not a int"),
        (lambda i, m: i(m, 1), TypeError, "optimizer must be a torch.optim.Optimizer"),
        (lambda i, m: i(m, loader=1), TypeError, "loader must be iterable, not a int"),
        (lambda i, m: i(m, depth="2"), TypeError, "depth must be a whole number, not a str"),
        (lambda i, m: i(m, depth=True), TypeError, "depth must be a whole number, not a bool"),
        (lambda i, m: i(m, depth=-1), ValueError, "depth must be 0"),
    ],
)
def test_wrong_arguments_raise_at_once_and_leave_no_hook(
    call: Callable[[Any, Any], Any], error: type[Exception], text: str
) -> None:
    from phasescope.integrations.torch import instrument

    model = torch.nn.Linear(2, 2)
    with pytest.raises(error, match=text):
        call(instrument, model)
    assert [len(model._forward_hooks), len(model._forward_pre_hooks)] == UNMARKED


def test_a_model_that_is_instrumented_already_is_refused_until_undo() -> None:
    from phasescope.integrations.torch import instrument

    model = torch.nn.Linear(2, 2)
    marked = instrument(model)
    with pytest.raises(ValueError, match="call undo"):
        instrument(model)
    marked.undo()
    instrument(model).undo()


def test_the_loader_is_still_itself() -> None:
    from phasescope.integrations.torch import instrument

    data = torch.utils.data.TensorDataset(torch.zeros(4, 2))
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    with instrument(torch.nn.Linear(2, 2), loader=loader) as marked:
        assert marked.loader is not None
        assert len(marked.loader) == 2
        assert marked.loader.batch_size == 2
        assert marked.loader.dataset is data
        assert len(list(marked.loader)) == 2
    assert phasescope.current() is None, "it starts no session"


@pytest.mark.parametrize(
    ("integration", "missing", "pip"),
    [
        ("torch", ["torch"], "pip install torch"),
        ("lightning", ["lightning", "pytorch_lightning"], "pip install lightning"),
        ("transformers", ["transformers"], r"pip install 'transformers\[torch\]'"),
    ],
)
def test_a_missing_framework_is_answered_with_the_pip_line(
    integration: str, missing: list[str], pip: str, tmp_path: Path
) -> None:
    code = f"import sys\nfor name in {missing}: sys.modules[name] = None\nimport phasescope.integrations.{integration}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    with pytest.raises(ModuleNotFoundError, match=pip):
        raise ModuleNotFoundError(done.stderr.strip().splitlines()[-1])
