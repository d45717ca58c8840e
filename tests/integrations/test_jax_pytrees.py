"""What a JAX training's memory is made of, told by its pytrees: to the byte, and without a call into its code."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from support.scenarios import results_of

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return results_of("jax_pytrees.py", tmp_path_factory.mktemp("jax"))


def test_they_are_the_arrays_own_bytes_and_what_was_donated_is_gone(told: dict[str, Any]) -> None:
    found, parameters, state, batch = told["a_training_with_donated_state"]
    expected = {"parameters": parameters, "buffers": 0, "optimizer_state": state, "inputs": batch}
    assert found == expected


def test_arrays_are_found_in_attributes_without_calling_any(told: dict[str, Any]) -> None:
    found, size = told["wherever_they_lie"]
    assert found == {"parameters": size}


def test_each_array_counts_once_by_its_memory(told: dict[str, Any]) -> None:
    assert told["each_once"] == {"parameters": 400 + 50 * 8, "optimizer_state": 40}


def test_of_several_devices_each_shard_counts(told: dict[str, Any]) -> None:
    found, shards = told["sharded_and_replicated"]
    assert found == shards == {"parameters": 256, "buffers": 4 * 12}


def test_nothing_is_waited_for(told: dict[str, Any]) -> None:
    before, after, found, size = told["nothing_is_waited_for"]
    if before:
        pytest.skip("it was computed at once")
    assert not after
    assert found == {"parameters": size}


def test_nothing_is_kept_alive_or_made(told: dict[str, Any]) -> None:
    assert told["nothing_is_kept"] == [True, 2]


def test_what_has_no_memory_yet_is_not_counted(told: dict[str, Any]) -> None:
    assert told["inside_of_a_compiled_function_there_is_nothing"] == {}
    assert told["without_a_session"] is None


def test_most_calls_only_look_at_the_time_until_something_is_added(told: dict[str, Any]) -> None:
    looks, calls, found = told["looks_of_many_calls"]
    assert looks <= 4 < 100 < calls
    assert found == {"parameters": 28}
