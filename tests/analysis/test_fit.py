"""Which batch fits: the lines that agree with what was measured, what is refused, and how it is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase
from phasescope.analysis.fit.forecast import FitError, Forecast, fit
from phasescope.analysis.fit.lines import LineBounds, PeakLine, through
from phasescope.analysis.fit.room import RoomError
from phasescope.analysis.fit.usage import Usage, UsageFold
from phasescope.analysis.text.fit_text import fit_lines
from phasescope.testing import FakeBackend, OutOfMemoryError, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

GIB = 1 << 30
MODEL = {"parameters": 4, "gradients": 4, "optimizer_state": 8}
OTHER, PER_SAMPLE, TOTAL, CONTEXT = 1, 2, 80, 1


class Training:
    """A training whose memory is known: it holds 17 GiB at the end of a step, and needs 2 GiB a sample besides."""

    def __init__(self, session: phasescope.Session, backend: FakeBackend) -> None:
        self.session, self.backend = session, backend
        self.looks = 0

    def step(self, batch: int, noted: int | None = 0, elements: int = 100, **model: int) -> None:
        sizes = {**MODEL, **model}
        standing = sum(sizes.values()) + OTHER
        with phase("forward"):
            self.backend.set((standing - sizes["gradients"] + PER_SAMPLE * batch) * GIB)
        with phase("backward"):
            self.backend.set(standing * GIB)
        with phase("optimizer"):
            self.backend.set((standing + 1) * GIB)
            self.backend.set(standing * GIB)
        with phase("validation"), phase("forward"):
            self.backend.set(79 * GIB)
            self.backend.set(standing * GIB)
        self.looks += 1
        self.session.note_categories(
            {
                "cuda:0": {
                    **{name: size * GIB for name, size in sizes.items()},
                    **{f"{name}_float32": size * GIB for name, size in sizes.items()},
                    "activations": PER_SAMPLE * batch * GIB,
                }
            },
            looks=self.looks,
            batch_size=batch if noted == 0 else noted,
            batch_elements=batch * elements,
        )


def used(train: Callable[[Training], object], *, peaks: bool = True, total: int | None = TOTAL) -> Usage:
    standing = (sum(MODEL.values()) + OTHER) * GIB
    backend = FakeBackend("cuda", allocated=standing, total=None if total is None else total * GIB)
    with phasescope.start(backends=[backend, "cpu"], interval_ms=3_600_000, peaks=peaks) as session:
        train(Training(session, backend))
        backend.figures = backend.figures._replace(used_bytes=standing + CONTEXT * GIB)
        sample(session)
        fold = UsageFold()
        for event in session.events():
            fold.take(event)
    return fold.usages()[0]


def steps(*batches: int, **how: Any) -> Callable[[Training], object]:
    def train(training: Training) -> None:
        for batch in batches:
            training.step(batch, **how)

    return train


def gib(sizes: Sequence[float]) -> list[float]:
    return [size / GIB for size in sizes]


def test_one_session_gives_a_range_that_has_the_truth_in_it() -> None:
    found = fit([used(steps(8, 8, 8))])
    assert found.peak_bytes == (17 - 4 + 2 * 8) * GIB, "the peak of the validation is not a step's"
    least, most = gib(found.growth.needs(16))
    assert least <= 17 - 4 + 2 * 16 <= most
    true_largest = int((TOTAL - CONTEXT - 13) / PER_SAMPLE)
    assert found.largest_batch is not None
    assert found.largest_maybe is not None
    assert found.largest_batch <= true_largest <= found.largest_maybe
    assert not found.is_exact
    assert any("a second session" in line for line in found.assumes)


def test_two_sessions_give_the_line_itself_and_say_so() -> None:
    found = fit([used(steps(4, 4)), used(steps(8, 8))])
    assert gib(found.growth.needs(16)) == [45, 45]
    assert found.largest_batch == found.largest_maybe == (80 - 1 - 13) // 2
    assert found.assumes[0] == "exact: a line through two points, batches 4, 8"
    text = "\n".join(fit_lines(found))
    assert "cuda:0, 80.0 GiB, of which others hold 1.00 GiB: the largest batch that fits is 33" in text
    assert "fixed       13.0 GiB" in text
    assert "per sample  2.00 GiB" in text


def test_another_device_has_its_own_size_and_holds_no_other_processes() -> None:
    usage = used(steps(8, 8))
    found = fit([usage, used(steps(4, 4))], device_memory_bytes=24 * GIB)
    assert found.largest_batch == (24 - 1 - 13) // 2
    small = fit([usage, used(steps(4, 4))], device_memory_bytes=14 * GIB)
    assert small.largest_batch == 0
    assert "not even a batch of 1 fits" in next(fit_lines(small))


def test_a_smaller_last_batch_of_an_epoch_is_no_other_size() -> None:
    assert fit([used(steps(8, 8, 8, 3))]).batch_sizes == (8,)


def test_without_exact_peaks_no_batch_is_said_to_fit() -> None:
    found = fit([used(steps(8, 8), peaks=False)])
    assert found.largest_batch is None
    assert found.largest_maybe is not None
    assert all(saving.largest_batch is None for saving in found.savings)
    assert "start(peaks=True)" in next(fit_lines(found))
    assert "fits is" not in "\n".join(fit_lines(found))


def test_what_saves_is_counted_from_what_was_measured() -> None:
    found = fit([used(steps(8, 8)), used(steps(4, 4))], ranks=4)
    saved = {saving.name: (saving.fixed_bytes + saving.growing_bytes) / GIB for saving in found.savings}
    assert saved == {
        "activation_checkpointing": 16,
        "bf16": 8,
        "8_bit_optimizer": 6,
        "shard_state": 6,
        "shard_gradients": 9,
        "shard_parameters": 12,
    }
    batches = {saving.name: saving.largest_batch for saving in found.savings}
    assert batches["8_bit_optimizer"] == (80 - 1 - 13 + 6) // 2
    assert batches["shard_gradients"] == batches["shard_state"], "gradients may not be there at the peak"
    assert batches["activation_checkpointing"] is None


def test_what_is_not_float32_is_not_said_to_be_halved() -> None:
    def train(training: Training) -> None:
        training.step(4)
        sizes = {name: size * GIB for name, size in MODEL.items()}
        training.session.note_categories({"cuda:0": sizes}, looks=9, batch_size=4)

    names = {saving.name for saving in fit([used(train)]).savings}
    assert not names & {"bf16", "8_bit_optimizer"}
    assert "shard_state" in names


@pytest.mark.parametrize(
    ("train", "told"),
    [
        (steps(8, 8, noted=None), "the batch size is not known for sure: pass --batch-size N"),
        (steps(8, 4, 6, 7), "the batches differ in size, from 4 to 8 samples: pass the largest as --batch-size N"),
        (
            lambda training: (training.step(8, elements=100), training.step(8, elements=250)),
            "the samples differ in size, from 100 to 250 elements",
        ),
        (
            lambda training: training.session.note_categories({"cuda:0": {"parameters": 1}}, moment="forward"),
            "no step of a known model and optimizer has ended yet",
        ),
        (
            lambda training: training.session.note_categories({"cuda:0": {"parameters": 1}}, moment="failure"),
            "memory ran out before a step had ended, so what a step needs is not known: run it with a smaller batch",
        ),
        (
            lambda training: training.session.note_categories({"cuda:0": {"parameters": 1}}, batch_size=4),
            "no forward or backward pass was measured",
        ),
    ],
)
def test_too_little_is_refused_with_the_way_out(train: Callable[[Training], object], told: str) -> None:
    with pytest.raises(FitError) as refused:
        fit([used(train)])
    assert str(refused.value).startswith(told)


def test_a_batch_size_that_is_given_answers_what_was_not_known() -> None:
    found = fit([used(steps(8, 8, noted=None)), used(steps(4, 4, noted=None))], batch_sizes=[8, 4])
    assert found.largest_batch == 33


def test_sessions_of_different_models_are_refused() -> None:
    with pytest.raises(FitError, match=r"not of the same training: parameters 4\.00 GiB and 6\.00 GiB"):
        fit([used(steps(8, 8)), used(steps(4, 4, parameters=6))])


def test_memory_that_does_not_grow_with_the_batch_is_refused() -> None:
    usages = [used(steps(8, 8, noted=noted)) for noted in (8, 16)]
    with pytest.raises(FitError, match="memory did not grow"):
        fit(usages)


def test_a_device_of_unknown_size_needs_one() -> None:
    usages = [used(steps(8, 8), total=None), used(steps(4, 4), total=None)]
    with pytest.raises(RoomError, match="--device-memory"):
        fit(usages)
    assert fit(usages, device_memory_bytes=80 * GIB).largest_batch == 33


def test_the_host_is_refused_since_its_resident_set_is_no_line() -> None:
    with phasescope.start(backends=["cpu"], interval_ms=3_600_000) as session:
        with phase("forward"):
            pass
        session.note_categories({"cpu": {"parameters": 1}}, batch_size=4)
        fold = UsageFold()
        for event in session.events():
            fold.take(event)
    with pytest.raises(FitError, match="only the memory of a device is forecast"):
        fit(fold.usages() * 2, batch_sizes=[4, 8])


def test_a_run_that_ran_out_later_says_so() -> None:
    def train(training: Training) -> None:
        training.step(8)
        with pytest.raises(OutOfMemoryError), phase("forward"):
            training.backend.run_out(90 * GIB)
        training.session.note_categories({"cuda:0": {"parameters": 1}}, moment="failure", looks=2, batch_size=16)

    found = fit([used(train)])
    assert any("memory ran out in this session at batch 16" in line for line in found.assumes)


def test_lines() -> None:
    assert through([(8, 100), (16, 180)]) == (PeakLine(20.0, 10.0), 0.0)
    line, error = through([(8, 100), (16, 180), (24, 263)])
    assert (round(line.per_sample, 2), round(error, 2)) == (10.19, 1.0)
    growth = LineBounds(PeakLine(20, 10), PeakLine(20, 10), floor_bytes=500, error_bytes=5)
    assert growth.needs(4) == (500, 500)
    assert growth.needs(100) == (1015, 1025)
    assert growth.largest(499) == (0, 0)
    assert growth.largest(1024) == (99, 100)


@pytest.fixture
def recorded(tmp_path: Path) -> list[str]:
    """Two recordings of one training, with batches of 4 and 8."""
    paths = []
    for batch in (4, 8):
        backend = FakeBackend("cuda", allocated=17 * GIB, total=80 * GIB)
        path = str(tmp_path / f"batch-{batch}.jsonl")
        with phasescope.start(
            backends=[backend, "cpu"], interval_ms=3_600_000, peaks=True, record=path, directory=str(tmp_path)
        ) as session:
            training = Training(session, backend)
            for _ in range(3):
                training.step(batch)
        paths.append(path)
    return paths


def test_the_command_answers_with_text_json_and_exit_codes(
    recorded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from phasescope import cli

    def run(*arguments: str) -> tuple[int, str, str]:
        return cli.main(["fit", *arguments]), *capsys.readouterr()

    code, out, _ = run(*recorded)
    assert code == cli.OK
    assert "cuda:0, 80.0 GiB: the largest batch that fits is 33" in out
    code, out, _ = run(*recorded, "--json", "--device-memory", "24GiB")
    told = json.loads(out)
    assert (code, told["largest_batch"], told["batch_sizes"], len(told["sessions"])) == (cli.OK, 5, [4, 8], 2)
    assert run(*recorded, "--device-memory", "2GiB")[0] == cli.PROBLEM
    assert run(recorded[0], "--batch-size", "4", "--batch-size", "8")[0] == cli.WRONG_USAGE
    assert run(recorded[0], "--batch-size", "0")[0] == cli.WRONG_USAGE
    code, _, problem = run(recorded[0], "--device", "cuda:7")
    assert (code, "is known only for cuda:0" in problem) == (cli.NOT_COMPARABLE, True)


def test_everything_it_says_is_json(recorded: list[str]) -> None:
    fold = UsageFold()
    with phasescope.attach(recorded[0]) as reader:
        for event in reader.iter_events():
            fold.take(event)
    found = fit(fold.usages()[:1])
    assert isinstance(found, Forecast)
    told = json.loads(json.dumps(found.to_dict()))
    assert told["fixed_bytes"] == sorted(told["fixed_bytes"])
    assert {"room", "savings", "assumes", "categories", "largest_maybe"} <= told.keys()
