"""The published JSON Schema and `validate_event` say the same, but for the bounds that JSON Schema cannot say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasescope.wire.event import (
    EVENT_KEYS,
    REQUIRED_KEYS,
    InvalidEventError,
    validate_event,
)

HERE = Path(__file__).parent
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "telemetry-event-v3.schema.json").read_text(encoding="utf-8"))
VECTORS = json.loads((HERE / "conformance" / "events.json").read_text(encoding="utf-8"))
SAMPLE = VECTORS[0]["record"]
SCHEMA_ACCEPTS = jsonschema.Draft4Validator(SCHEMA).is_valid


def validator_accepts(record: dict[str, Any]) -> bool:
    try:
        validate_event(record)
    except InvalidEventError:
        return False
    return True


def is_int_from(least: int, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def without_bounds_between_keys(record: dict[str, Any]) -> dict[str, Any]:
    """The same record where no other key bounds a counter or a rank of several ranks."""
    relaxed = dict(record)
    if is_int_from(0, relaxed.get("device_total_bytes")):
        relaxed["device_total_bytes"] = None
    if is_int_from(2, relaxed.get("world_size")):
        relaxed["world_size"] = 2**1000
    return relaxed


def test_the_schema_is_a_valid_draft_4_schema() -> None:
    jsonschema.Draft4Validator.check_schema(SCHEMA)


def test_the_schema_lists_the_keys_of_the_validator() -> None:
    assert tuple(SCHEMA["properties"]) == EVENT_KEYS
    assert tuple(SCHEMA["required"]) == REQUIRED_KEYS


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_the_schema_agrees_with_every_vector(vector: dict[str, Any]) -> None:
    accepted = SCHEMA_ACCEPTS(vector["record"])
    assert accepted == (vector["valid"] or vector["name"] in BOUND_BETWEEN_KEYS)


BOUND_BETWEEN_KEYS = {
    "device_total_bytes = 0",
    "device_total_bytes = 1",
    "device_total_bytes = 2",
    "device_used_bytes = 1180591620717411303424",
    "device_free_bytes = 1180591620717411303424",
    "used over total",
    "free over total",
    "rank 8 of 8",
    "local rank 8 of 8",
}

SPACES = "".join(chr(code) for code in range(0x110000) if chr(code).isspace())
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats()
    | st.sampled_from([0.0, 1.0, 2.0, 3.0])
    | st.text(max_size=4)
    | st.text(alphabet=SPACES, max_size=4)
)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)


@st.composite
def near_events(draw: st.DrawFn) -> dict[str, Any]:
    """The sample with a few keys set to anything, some taken away, and now and then a key that is unknown."""
    record = dict(SAMPLE)
    keys = st.sampled_from(EVENT_KEYS) | st.sampled_from(("rank", "local_rank", "world_size", "extra"))
    record.update(draw(st.dictionaries(keys, VALUES, max_size=3)))
    for key in draw(st.sets(st.sampled_from(EVENT_KEYS), max_size=2)):
        record.pop(key, None)
    return record


@settings(deadline=None, max_examples=400)
@given(near_events())
def test_the_schema_agrees_with_the_validator_on_any_record(record: dict[str, Any]) -> None:
    if validator_accepts(record):
        assert SCHEMA_ACCEPTS(record)
    else:
        assert SCHEMA_ACCEPTS(record) == validator_accepts(without_bounds_between_keys(record))


@pytest.mark.parametrize("space", SPACES, ids=[f"U+{ord(space):04X}" for space in SPACES])
def test_every_white_space_is_blank_to_both(space: str) -> None:
    record = {**SAMPLE, "host": space * 2}
    assert not validator_accepts(record)
    assert not SCHEMA_ACCEPTS(record)
