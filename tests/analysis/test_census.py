"""What is said of a census: only what the growth bears out, and in one wording."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from phasescope.analysis.diagnosis.census import (
    CensusFold,
    behind,
    compiled_again,
    is_explained,
    is_kept_without_bound,
    is_outside_python,
    is_seldom,
    main_keeper,
    may_be_garbage,
    not_counted_whole,
    seen_anyway,
    small_ones,
    without_keeper,
)
from phasescope.analysis.diagnosis.census_text import grown_text, remedies, suspicion
from phasescope.analysis.diagnosis.growth_causes import of_growth
from support.growths import GROWS, MIB

LOSSES: dict[str, Any] = {
    "kind": "tensors",
    "library": "torch",
    "device": "cpu",
    "dtype": "float32",
    "shape": [32, 1000],
    "graph": True,
    "graph_saved_bytes": 2 * MIB - 128_000,
    "count": 402,
    "bytes": 402 * 128_000,
    "before": 10,
    "since_step": 8,
    "per_step": 1.0,
    "censuses": 6,
    "keeper": {
        "container": "list",
        "expression": "losses",
        "scope": "local",
        "function": "main",
        "file": "train.py",
        "line": 41,
        "line_file": "train.py",
        "line_function": "main",
        "length": 400,
        "kept": 400,
    },
}


def census_of(*grown: Any, number: int = 6) -> Any:
    fold = CensusFold()
    told = {"number": number, "step": 256, "grown": list(grown)}
    fold.take({"event_type": "census", "metadata": {"census": told}})
    return fold.result()


def test_what_accounts_for_the_growth_is_named_with_all_that_is_known() -> None:
    census = census_of(LOSSES)
    (grown,) = behind(GROWS, census)
    assert grown_text(grown) == (
        "400 tensors of float32[32, 1000] that carry their graph (48.8 MiB), kept by list `losses` in train.py:41; "
        "the graph of each keeps 1.88 MiB besides"
    )
    assert list(remedies(grown)) == [
        "train.py:41: keep numbers (`.item()`), or `.detach()` what is kept: each carries its whole graph"
    ]
    assert is_explained(GROWS, census)
    assert not is_outside_python(GROWS, census)


def test_what_does_not_fit_the_growth_is_not_named() -> None:
    tiny = {**LOSSES, "graph_saved_bytes": 0, "bytes": 402 * 4}
    unknown = {key: value for key, value in LOSSES.items() if key != "keeper"}
    assert behind(GROWS, census_of(tiny)) == ()
    assert behind(GROWS, census_of(unknown)) == ()
    assert behind(GROWS, None) == ()
    assert behind(replace(GROWS, grows=False), census_of(LOSSES)) == ()
    assert behind(replace(GROWS, device="cuda:0"), census_of(LOSSES)) == ()
    assert behind(replace(GROWS, device="cuda:1"), census_of({**LOSSES, "device": "cuda:1"})) != ()


def test_small_tensors_that_stay_are_named_beside_a_growth_of_the_heap() -> None:
    """Seen: with a list of scalar losses the resident set grew by 100 KiB a step, and without it not at all."""
    tiny = {**LOSSES, "shape": [], "graph_saved_bytes": 0, "bytes": 402 * 4}
    (small,) = small_ones(GROWS, census_of(tiny))
    assert small.keeper is not None
    assert small.keeper.line == 41
    assert not is_outside_python(GROWS, census_of(tiny))
    rare = {**tiny, "per_step": 0.1}
    assert small_ones(GROWS, census_of(rare)) == small_ones(GROWS, census_of(LOSSES)) == ()
    assert small_ones(replace(GROWS, device="cuda:0"), census_of(tiny)) == small_ones(GROWS, None) == ()
    assert is_outside_python(GROWS, census_of(rare))


def test_handles_without_bytes_leave_no_heap_in_pieces() -> None:
    """A model that is made again keeps variables, of which the handles alone are Python's."""
    handle = {**LOSSES, "library": "tensorflow", "dtype": "resource", "shape": [], "graph": False, "bytes": 0}
    assert small_ones(GROWS, census_of(handle)) == ()


PICTURES: dict[str, Any] = {
    "kind": "items",
    "of": "Image",
    "count": 129,
    "bytes": 37_668,
    "before": 9,
    "since_step": 8,
    "per_step": 1.0,
    "censuses": 5,
    "keeper": {**LOSSES["keeper"], "container": "dict", "expression": "shown", "kept": 129},
}


def test_items_that_a_c_library_holds_more_for_are_named_where_nothing_else_explains_it() -> None:
    (grown,) = not_counted_whole(GROWS, census_of(PICTURES))
    assert grown_text(grown).startswith("129 Image items (36.8 KiB), kept by dict `shown` in train.py:41")
    assert suspicion(grown) == (
        "look at `shown` in train.py:41 first: what a C library holds for its Image items is not counted"
    )


@pytest.mark.parametrize(
    "others",
    [[LOSSES], [{**PICTURES, "of": "float"}], [{**PICTURES, "per_step": 0.1}], [{**PICTURES, "keeper": None}]],
    ids=["something explains it", "plain numbers", "seldom", "of nobody"],
)
def test_no_items_are_named_for_what_others_explain_or_plain_objects_are(others: list[Any]) -> None:
    more = [PICTURES] if others == [LOSSES] else []
    assert not_counted_whole(GROWS, census_of(*others, *more)) == ()


def test_what_has_no_keeper_may_be_garbage_unless_a_graph_becomes_longer() -> None:
    nobodys = {**LOSSES, "keeper": None}
    graph = {**LOSSES, "kind": "graph", "count": 1334, "bytes": 0, "per_step": 10.0}
    assert may_be_garbage(GROWS, census_of(nobodys))
    assert not may_be_garbage(GROWS, census_of(nobodys, graph))
    assert not may_be_garbage(GROWS, census_of(LOSSES))


def test_what_has_a_bound_may_only_be_filling() -> None:
    bounded = {**LOSSES, "keeper": {**LOSSES["keeper"], "bound": 100_000}}
    assert is_kept_without_bound(GROWS, census_of(LOSSES))
    assert is_explained(GROWS, census_of(bounded))
    assert not is_kept_without_bound(GROWS, census_of(bounded))


def test_a_census_without_time_for_keepers_has_those_found_before() -> None:
    fold = CensusFold()
    alone = {key: value for key, value in LOSSES.items() if key != "keeper"}
    for number, grown in enumerate((LOSSES, alone, {**alone, "shape": [7]}), 4):
        told = {"number": number, "step": 2**number, "grown": [grown]}
        fold.take({"event_type": "census", "metadata": {"census": told}})
        census = fold.result()
        assert census is not None
        (only,) = census.grown
        assert (only.keeper is not None) is (grown.get("shape") == [32, 1000])
        assert len(without_keeper(GROWS, census)) == (only.keeper is None)


def test_a_graph_that_becomes_longer_is_named_whatever_its_bytes() -> None:
    """`running_loss += loss`: most of what such a graph keeps is not counted."""
    graph = {**LOSSES, "kind": "graph", "count": 1180, "bytes": 0, "graph_saved_bytes": 0, "per_step": 17.0}
    (longer,) = small_ones(GROWS, census_of(graph))
    assert "which becomes longer: 1,180 operations, 17 more a step" in grown_text(longer)
    assert not is_outside_python(GROWS, census_of({key: value for key, value in graph.items() if key != "keeper"}))


def test_a_census_that_was_long_before_the_growth_says_nothing_of_what_it_did_not_see() -> None:
    assert is_outside_python(GROWS, census_of())
    assert not is_outside_python(replace(GROWS, steps=4000), census_of())
    assert not is_outside_python(replace(GROWS, rare=True), census_of())


def test_the_cause_names_who_keeps_it_in_place_of_the_phase_in_which_it_shows() -> None:
    assert of_growth(GROWS, census_of(LOSSES)).text == (
        "The process's memory on the host grows: +2.00 MiB per entry of step, over the last 180 of 400. "
        "Most of it is kept by list `losses` in train.py:41."
    )
    assert of_growth(GROWS, census_of({**LOSSES, "graph_saved_bytes": 0})).text.endswith(
        "over the last 180 of 400. Part of it is kept by list `losses` in train.py:41."
    )


def test_what_is_kept_at_each_evaluation_is_compared_with_the_growth_by_the_usual_steps() -> None:
    """Censuses count steps: of 40 MiB an evaluation, one in twenty steps, 2 MiB a step are all."""
    rare = replace(GROWS, rare=True, per=("evaluate",), bytes_per_step=40.0 * MIB, steps_per_entry=20.0)
    assert main_keeper(rare, census_of(LOSSES)) == main_keeper(GROWS, census_of(LOSSES))
    assert is_kept_without_bound(rare, census_of(LOSSES))


def test_a_growth_that_no_object_accounts_for_is_outside_of_python() -> None:
    assert is_outside_python(GROWS, census_of())
    assert not is_outside_python(GROWS, census_of(number=2))
    assert not is_outside_python(replace(GROWS, per=None), census_of())
    assert not is_outside_python(replace(GROWS, device="cuda:0"), census_of())
    unknown = {key: value for key, value in LOSSES.items() if key != "keeper"}
    assert not is_outside_python(GROWS, census_of(unknown))


def test_what_may_only_be_filling_is_not_named_without_a_growth() -> None:
    bounded = {**LOSSES, "keeper": {**LOSSES["keeper"], "container": "deque", "bound": 1000}}
    assert seen_anyway(census_of(LOSSES)) != ()
    assert seen_anyway(census_of(bounded)) == ()
    assert "which has at most 1,000 items" in grown_text(behind(GROWS, census_of(bounded))[0])


@pytest.mark.parametrize(
    ("changes", "text", "remedy"),
    [
        (
            {"kind": "graph", "count": 1068, "per_step": 8.0, "bytes": 14 * MIB},
            "the graph of list `losses` in train.py:41, which becomes longer: 1,068 operations, 8 more a step, "
            "14.0 MiB of them kept for the backward pass",
            "detach `losses` from step to step",
        ),
        (
            {"kind": "larger", "of": "Tensor", "graph": False, "count": 1, "bytes": 48 * MIB, "per_step": 1.5 * MIB},
            "the tensor of float32[32, 1000] `losses` in train.py:41, which becomes larger: 48.0 MiB, "
            "1.50 MiB more a step",
            "`losses` becomes larger with each step",
        ),
        (
            {"graph": False, "graph_saved_bytes": 0, "per_step": 20, "keeper": {**LOSSES["keeper"], "bound": 1000}},
            "400 tensors of float32[32, 1000] (48.8 MiB), kept by list `losses` in train.py:41, which has at most "
            "1,000 items",
            "may only be filling: its 1,000 items are about 122 MiB",
        ),
        (
            {
                "keeper": {**LOSSES["keeper"], "expression": "m._forward_hooks"},
                "graph_saved_bytes": 0,
                "per_step": 30,
            },
            "400 tensors of float32[32, 1000] that carry their graph (48.8 MiB), kept by list `m._forward_hooks` in "
            "train.py:41",
            "`handle.remove()`",
        ),
        (
            {"kind": "items", "of": "dict", "dtype": "", "graph": False, "graph_saved_bytes": 0},
            "400 dict items (48.8 MiB), kept by list `losses` in train.py:41",
            "empty `losses` from time to time",
        ),
        (
            {"library": "numpy", "graph": False, "graph_saved_bytes": 0, "shape": None},
            "400 numpy arrays of float32 of various shapes (48.8 MiB), kept by list `losses` in train.py:41",
            "keep sums instead",
        ),
        (
            {"graph_saved_bytes": 0, "keeper": {**LOSSES["keeper"], "through": {"kind": "view"}}},
            "400 tensors of float32[32, 1000] that carry their graph (48.8 MiB), kept by list `losses` in train.py:41: "
            "by parts of them, each of which keeps the whole",
            "keep copies (`.detach().clone()`)",
        ),
        (
            {"graph_saved_bytes": 0, "keeper": {**LOSSES["keeper"], "through": {"kind": "graph"}}},
            "400 tensors of float32[32, 1000] that carry their graph (48.8 MiB), kept by list `losses` in train.py:41: "
            "by graphs that saved them for a backward pass",
            "keep numbers (`.item()`)",
        ),
    ],
)
def test_each_kind_has_its_wording_and_remedy(changes: dict[str, Any], text: str, remedy: str) -> None:
    (grown,) = behind(GROWS, census_of({**LOSSES, **changes}))
    assert grown_text(grown) == text
    assert remedy in " ".join(remedies(grown))


@pytest.mark.parametrize(("per_step", "seldom"), [(1.0, False), (0.5, False), (0.05, True), (0.0, False)])
def test_what_comes_with_each_epoch_is_told_from_what_comes_with_each_step(per_step: float, *, seldom: bool) -> None:
    census = census_of({**LOSSES, "per_step": per_step})
    assert is_seldom(census.grown[0]) is seldom


@pytest.mark.parametrize(
    "odd",
    [
        None,
        3,
        [],
        {"kind": "other"},
        {"kind": "tensors"},
        {"kind": "tensors", "keeper": 3, "count": -1, "per_step": float("nan"), "shape": ["x"]},
        {"kind": "items", "keeper": {"expression": "x" * 10_000, "line": -3, "through": []}, "per_step": 1e300},
    ],
)
def test_odd_events_raise_nothing(odd: Any) -> None:
    census = census_of(odd)
    behind(GROWS, census)
    seen_anyway(census)
    for grown in census.grown:
        grown_text(grown)
    fold = CensusFold()
    for metadata in (None, {}, {"census": odd}, {"census": {"grown": odd}}):
        fold.take({"event_type": "census", "metadata": metadata})


VERSIONS: dict[str, Any] = {
    "kind": "versions",
    "library": "jax",
    "count": 251,
    "before": 11,
    "since_step": 8,
    "per_step": 1.0,
    "censuses": 6,
    "keeper": {
        "container": "JAX function",
        "expression": "train",
        "scope": "global",
        "file": "train.py",
        "line": 12,
        "line_file": "train.py",
        "length": 251,
        "kept": 251,
    },
}


def test_a_function_that_is_compiled_again_is_named_and_not_given_the_bytes() -> None:
    census = census_of(VERSIONS)
    (again,) = compiled_again(GROWS, census)
    assert grown_text(again) == (
        "251 versions of JAX function `train` in train.py:12, which is compiled again at each step, and each is kept"
    )
    (advice,) = remedies(again)
    assert advice.startswith("train.py:12: call `train` with a few shapes")
    assert not behind(GROWS, census)
    assert not is_outside_python(GROWS, census)
    (traced,) = compiled_again(GROWS, census_of({**VERSIONS, "library": "tensorflow", "per_step": 2.5}))
    assert "which is traced again about 2.5 times a step" in grown_text(traced)
    assert "reduce_retracing=True" in next(remedies(traced))


def test_a_function_that_is_compiled_too_seldom_for_the_growth_is_not_named() -> None:
    seldom = {**VERSIONS, "per_step": GROWS.bytes_per_step / (65 * MIB)}
    assert compiled_again(GROWS, census_of(seldom)) == ()
    assert compiled_again(replace(GROWS, device="cuda:0"), census_of(VERSIONS)) == ()
    assert compiled_again(replace(GROWS, grows=False), census_of(VERSIONS)) == ()
    assert compiled_again(GROWS, None) == ()
