"""What memory is made of, as readers see it: what a training of its own notes, and what `explain` makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase
from phasescope.analysis.categories import LABELS, Categories, Category, categories, compared
from phasescope.testing import FakeBackend, OutOfMemoryError, sample

if TYPE_CHECKING:
    from collections.abc import Mapping

GIB = 1 << 30


def noted(sizes: Mapping[str, int], other: int = 5) -> phasescope.Session:
    """Run out of memory on a device of 80 GiB, after a look that found these sizes, in GiB, and as much besides."""
    standing = sum(size for name, size in sizes.items() if name != "activations")
    backend = FakeBackend("cuda", allocated=(standing + other) * GIB, total=80 * GIB)
    with phasescope.start(backends=[backend, "cpu"], interval_ms=3_600_000) as session:
        session.note_categories({"cuda:0": {name: size * GIB for name, size in sizes.items()}}, looks=3)
        backend.set(70 * GIB)
        with pytest.raises(OutOfMemoryError), phase("forward"):
            backend.run_out(12 * GIB)
    return session


def found_in(session: phasescope.Session) -> Categories:
    (found,) = (row.categories for row in session.summary().devices if row.label == "cuda:0")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("sizes", "other", "remedy"),
    [
        ({"parameters": 5, "activations": 50}, 5, "activation checkpointing"),
        ({"parameters": 20, "optimizer_state": 40}, 5, "sharding over the ranks (FSDP, ZeRO), or less state"),
        ({"parameters": 60}, 5, "weights in bf16"),
        ({"parameters": 20, "gradients": 40}, 5, "gradients sharded"),
        ({"parameters": 5, "inputs": 50}, 5, "smaller inputs"),
        ({"parameters": 5}, 60, "find who keeps what belongs to no known model or optimizer"),
    ],
)
def test_the_advice_follows_the_largest_category(sizes: dict[str, int], other: int, remedy: str) -> None:
    answer = noted(sizes, other).explain()
    assert answer.cause.kind == "too_large"
    assert answer.advice[0].startswith(remedy), answer.advice
    assert f"{max(other, *sizes.values())}.0 GiB of {sum(sizes.values()) + other}.0 GiB" in answer.advice[0]


def test_without_categories_the_advice_names_the_possible_ones() -> None:
    backend = FakeBackend("cuda", allocated=70 * GIB, total=80 * GIB)
    with phasescope.start(backends=[backend, "cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(OutOfMemoryError), phase("forward"):
            backend.run_out(12 * GIB)
    assert any("if most of it is activations" in line for line in session.explain().advice)


def test_what_stands_adds_up_and_the_line_is_one_for_every_view() -> None:
    session = noted({"parameters": 5, "gradients": 5, "optimizer_state": 10, "activations": 30})
    found = found_in(session)
    assert sum(part.size_bytes for part in found.standing) == 25 * GIB
    line = (
        "cuda:0 at the end of a step: parameters 5.00 GiB, gradients 5.00 GiB, optimizer state 10.0 GiB, "
        "other 5.00 GiB; within a step also activations 30.0 GiB"
    )
    assert line in session.explain().held
    assert line in " ".join(session.summary().table(width=None).split())
    assert line in session.summary()._repr_html_()


def test_the_samples_that_follow_repeat_it_and_so_do_their_envelopes() -> None:
    backend = FakeBackend("cuda", allocated=8 * GIB, total=80 * GIB)
    with phasescope.start(backends=[backend, "cpu"], interval_ms=3_600_000) as session:
        session.note_categories({"cuda:0": {"parameters": GIB}})
        sample(session)
        session._collectors.all[0].states[0].extra_at_ns = None  # as if a second had passed
        sample(session)
        last = [envelope for envelope in session.records() if envelope.event_type == "sample"]
    told = [envelope.attributes for envelope in last if envelope.resource["source_kind"] == "cuda"][-1]
    assert told["memory.category.parameters_bytes"] == GIB
    assert told["memory.category.other_bytes"] == 7 * GIB


def test_a_device_that_is_not_measured_is_left_out_and_nothing_raises() -> None:
    with phasescope.start(backends=["cpu"], interval_ms=3_600_000) as session:
        session.note_categories({"cuda:0": {"parameters": 1}, "cuda:x": {"parameters": 1}, "": {}})
        assert session.allocated_bytes("cuda:0") is None
        assert session.allocated_bytes("cpu") is None, "the resident set is no figure of an allocator"
        assert "memory_categories" not in {event["event_type"] for event in session.events()}
        session.note_categories({"cpu": {"parameters": "much"}})  # type: ignore[dict-item]
    session.note_categories({"cpu": {"parameters": 1}})
    assert "memory_categories" not in {event["event_type"] for event in session.events()}


def test_the_host_has_no_rest_and_says_whose_tensors_they_are() -> None:
    with phasescope.start(backends=["cpu"], interval_ms=3_600_000) as session:
        session.note_categories({"cpu": {"parameters": 3 * GIB, "activations": GIB}})
        (row,) = session.summary().devices
    assert row.categories is not None
    assert row.categories.size_bytes("other") is None
    assert "the training's tensors on the host at the end of a step: parameters 3.00 GiB" in str(session.explain())


def test_a_failure_is_compared_with_the_look_before() -> None:
    def look(moment: str, other: int) -> Categories:
        return Categories((Category("parameters", 5), Category("other", other)), moment, 1, 1)

    found = compared(look("failure", 40), look("step", 10))
    assert found is not None
    assert found.at_its_fullest == {"parameters": 5, "other": 10, "activations": 30}
    assert compared(look("step", 40), look("step", 10)) == look("step", 40)
    assert compared(look("failure", 40), None) == look("failure", 40)


@pytest.mark.parametrize(
    "metadata",
    [{}, None, [], {"memory.category.looks": 1}, {"memory.category.looks": 1, "memory.category.other_bytes": "x"}],
)
def test_odd_events_have_none(metadata: Any) -> None:
    assert categories({"metadata": metadata}) is None


def test_every_category_has_its_label() -> None:
    event = {"metadata": {"memory.category.looks": 1, **{f"memory.category.{name}_bytes": 1 for name in LABELS}}}
    found = categories(event)
    assert found is not None
    assert [part.label for part in found.parts] == list(LABELS.values())
