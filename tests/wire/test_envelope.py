from __future__ import annotations

import copy
import datetime
import decimal
import enum
import hashlib
import json
import pickle
from collections import OrderedDict, UserDict, UserList, deque
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasescope.wire.envelope import (
    TELEMETRY_PROJECTION_SCHEMA_VERSION,
    ProjectedTelemetryRecord,
    project_owned_event,
    project_telemetry_mapping,
    projected_record_to_dict,
    unique_projected_correlations,
    unique_projected_resources,
)

VECTORS = json.loads((Path(__file__).parent / "conformance" / "projection.json").read_text(encoding="utf-8"))
SAMPLE: dict[str, Any] = VECTORS[0]["record"]
SCOPE = {"name": "forward", "path": ["step", "forward"], "scope_id": "s:2", "parent_scope_id": "s:1", "sequence": 2}


def event(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SAMPLE), **changes}


def with_metadata(**metadata: Any) -> dict[str, Any]:
    return event(metadata=metadata)


def specified_record_id(record: dict[str, Any]) -> str:
    """The specification's own words."""
    text = json.dumps(json.loads(json.dumps(record, sort_keys=True, default=str)), sort_keys=True)
    return "telemetry-" + hashlib.sha256(text.encode()).hexdigest()[:32]


def assert_frozen(value: Any) -> None:
    if isinstance(value, MappingProxyType):
        with pytest.raises(TypeError):
            value["new"] = 1  # type: ignore[index]
        assert {type(key) for key in value} <= {str}
        for item in value.values():
            assert_frozen(item)
    elif isinstance(value, (tuple, frozenset)):
        for item in value:
            assert_frozen(item)
    else:
        assert value is None or isinstance(value, (str, int, float, bytes))


# --- the published vectors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_the_published_vectors_hold_to_the_byte(vector: dict[str, Any]) -> None:
    given_observed = {key: vector[key] for key in ("observed_timestamp_ns",) if key in vector}
    if "error" in vector:
        with pytest.raises(ValueError, match=vector["error"]):
            project_telemetry_mapping(vector["record"], **given_observed)
    else:
        projected = projected_record_to_dict(project_telemetry_mapping(vector["record"], **given_observed))
        assert json.dumps(projected) == json.dumps(vector["expected"])


COMPLETE = [vector for vector in VECTORS if "expected" in vector and isinstance(vector["record"].get("metadata"), dict)]


@pytest.mark.parametrize("vector", COMPLETE, ids=[vector["name"] for vector in COMPLETE])
def test_an_owned_event_gives_the_same_envelope(vector: dict[str, Any]) -> None:
    expected = vector["expected"]
    owned = projected_record_to_dict(project_owned_event(copy.deepcopy(vector["record"])))
    expected["observed_timestamp_ns"] = expected["timestamp_ns"]
    assert json.dumps(owned) == json.dumps(expected)


# --- properties ------------------------------------------------------------------------------------------------------

AWKWARD = '\ud83d\ude00\U0001f600\uffff\u2028é\\"\x7f\x00/u d'
TEXTS = st.text(max_size=5) | st.text(alphabet=st.characters(exclude_categories=()), max_size=3)
TEXTS |= st.text(alphabet=AWKWARD, max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.integers(2**63, 2**80) | st.floats() | TEXTS


def nested(keys: st.SearchStrategy[Any], sequences: Any = st.lists) -> st.SearchStrategy[Any]:
    return st.recursive(
        SCALARS,
        lambda inner: sequences(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    )


def events(keys: st.SearchStrategy[Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The sample with any metadata, some optional keys set to anything, and some keys that v3 does not know."""
    free = [key for key in SAMPLE if key not in ("session_id", "timestamp_ns", "event_type", "metadata")]
    scopes = st.dictionaries(st.sampled_from([*SCOPE, "attributes"]), values, max_size=4)
    return st.builds(
        lambda metadata, scope, changes: {**SAMPLE, **changes, "metadata": {**metadata, **scope}},
        st.dictionaries(keys, values, max_size=4),
        st.just({}) | st.builds(lambda scope: {"phase_scope": scope}, scopes),
        st.dictionaries(st.sampled_from(free) | keys, values, max_size=3).map(
            lambda changes: {key: value for key, value in changes.items() if key not in set(SAMPLE) - set(free)}
        ),
    )


REQUIRED = {key: SAMPLE[key] for key in ("session_id", "timestamp_ns", "event_type")}
BARE = st.dictionaries(TEXTS, nested(TEXTS), max_size=4).map(lambda extra: {**extra, **REQUIRED})
"""Only what is required, and any other JSON beside it."""

JSON_LIKE = events(TEXTS, nested(TEXTS)) | BARE
ANY_KEYS = TEXTS | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none()
ODD_KEYS = events(ANY_KEYS, nested(ANY_KEYS))
UNIFORM_KEYS = events(TEXTS, nested(TEXTS) | st.dictionaries(st.integers() | st.booleans(), SCALARS))
PROPERTY = settings(deadline=None, max_examples=150)


@PROPERTY
@given(JSON_LIKE | UNIFORM_KEYS)
def test_record_id_is_the_specified_one(record: dict[str, Any]) -> None:
    assert project_telemetry_mapping(record).record_id == specified_record_id(record)


@PROPERTY
@given(BARE)
def test_what_a_record_lacks_is_none_in_its_envelope(record: dict[str, Any]) -> None:
    envelope = project_telemetry_mapping(record)
    assert set(envelope.resource) == set(project_telemetry_mapping(SAMPLE).resource)
    absent = envelope.resource.keys() - record.keys() - {"source_kind"}
    assert all(envelope.resource[key] is None for key in absent)
    figures = [key for key in envelope.attributes if key.startswith(("memory.", "sampling."))]
    assert len(figures) == 9
    assert all(envelope.attributes[key] is None for key in figures)
    assert envelope.source_kind == "other"


@PROPERTY
@given(ODD_KEYS)
def test_keys_that_can_not_be_sorted_together_are_no_error(record: dict[str, Any]) -> None:
    record_id = project_telemetry_mapping(record).record_id
    try:
        expected = specified_record_id(record)
    except TypeError:
        expected = project_telemetry_mapping(dict(reversed(record.items()))).record_id
    assert record_id == expected


@PROPERTY
@given(JSON_LIKE)
def test_the_order_of_keys_does_not_change_the_record_id(record: dict[str, Any]) -> None:
    turned = dict(reversed(record.items()))
    assert project_telemetry_mapping(turned).record_id == project_telemetry_mapping(record).record_id


@PROPERTY
@given(JSON_LIKE | ODD_KEYS)
def test_the_same_record_gives_equal_envelopes(record: dict[str, Any]) -> None:
    first, second = project_telemetry_mapping(record), project_telemetry_mapping(copy.deepcopy(record))
    assert first == second
    assert hash(first) == hash(second)
    assert repr(first) == repr(second)


@PROPERTY
@given(JSON_LIKE | ODD_KEYS)
def test_everything_in_an_envelope_is_frozen_at_any_depth(record: dict[str, Any]) -> None:
    envelope = project_telemetry_mapping(record)
    for name in projected_record_to_dict(envelope):
        assert_frozen(getattr(envelope, name))


@PROPERTY
@given(JSON_LIKE | ODD_KEYS)
def test_an_envelope_comes_back_from_its_dict(record: dict[str, Any]) -> None:
    envelope = project_telemetry_mapping(record)
    assert ProjectedTelemetryRecord(**projected_record_to_dict(envelope)) == envelope


def scribble(value: Any) -> None:
    """Change everything that can be changed."""
    if isinstance(value, dict):
        for item in value.values():
            scribble(item)
        value.clear()
        value["scribbled"] = True
    elif isinstance(value, list):
        for item in value:
            scribble(item)
        value.append("scribbled")


@PROPERTY
@given(JSON_LIKE | ODD_KEYS)
def test_the_record_is_left_as_it_is_and_may_change_afterwards(record: dict[str, Any]) -> None:
    mine = copy.deepcopy(record)
    envelope = project_telemetry_mapping(mine)
    assert mine == record
    scribble(mine)
    assert envelope == project_telemetry_mapping(record)


@PROPERTY
@given(JSON_LIKE)
def test_changing_the_dict_of_an_envelope_does_not_change_the_envelope(record: dict[str, Any]) -> None:
    envelope = project_telemetry_mapping(record)
    before = repr(envelope)
    scribble(projected_record_to_dict(envelope))
    assert repr(envelope) == before


@PROPERTY
@given(st.dictionaries(TEXTS, nested(TEXTS), max_size=4), st.dictionaries(TEXTS, SCALARS, max_size=3))
def test_an_owned_event_s_envelope_equals_the_projected_one(
    metadata: dict[str, Any], attributes: dict[str, Any]
) -> None:
    record = event(metadata={**metadata, "phase_scope": {**SCOPE, "attributes": attributes}})
    owned = project_owned_event(copy.deepcopy(record))
    assert owned.record_id == specified_record_id(record)
    assert owned == project_telemetry_mapping(record)
    assert_frozen(owned.attributes)
    assert_frozen(owned.correlation)


# --- record_id of what JSON has not ----------------------------------------------------------------------------------


class Name(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not the text"


class Figure(int):
    def __repr__(self) -> str:
        return "not the figure"


class Share(float):
    def __repr__(self) -> str:
        return "not the share"


class Level(str, enum.Enum):
    LOW = "low"


class Size(enum.IntEnum):
    BIG = 7


class Renamed(dict[str, int]):
    """A dict that shows json other items than it holds."""

    def items(self) -> Any:
        return [(f"renamed {key}", value) for key, value in super().items()]


class Thing:
    def __str__(self) -> str:
        return "a thing"


@pytest.mark.parametrize(
    "value",
    [
        Name("n"),
        Figure(3),
        Share(0.5),
        Level.LOW,
        Size.BIG,
        Thing(),
        "".join(map(chr, range(0x7F))),
        "\x7f",
        "é",
        "\U0001f600",
        -0.0,
        1e16,
        1e-7,
        float("nan"),
        float("-inf"),
        2**64,
        decimal.Decimal("1.50"),
        datetime.datetime(2025, 1, 2),
        b"bytes",
        bytearray(b"bytes"),
        {1},
        frozenset({1}),
        (1, (2,)),
        deque([1]),
        UserList([1]),
        range(3),
        OrderedDict(b=1, a=2),
        Renamed(b=1, a=2),
        UserDict(b=1, a=2),
        MappingProxyType({"b": 1, "a": 2}),
        {Name("k"): 1, "a": 2},
        {Level.LOW: 1, "a": 2},
        {Size.BIG: 1},
        {"\ud83d\ude00": 1, "\uffff": 2},
        {"\ud83d\ude00": 1, "\U0001f600": 2},
        {10: 1, 9: 2},
        {True: 1},
        {None: 1},
        {1.5: 1, 0.5: 2},
        {float("nan"): 1},
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("place", ["metadata", "scope", "list", "top", "known key"])
def test_record_id_follows_the_specification_for_any_value_in_any_place(value: Any, place: str) -> None:
    record = {
        "metadata": with_metadata(value=value),
        "scope": with_metadata(phase_scope={**SCOPE, "attributes": {"value": value}}),
        "list": with_metadata(values=[[value]]),
        "top": event(value=value),
        "known key": event(host=value),
    }[place]
    assert project_telemetry_mapping(record).record_id == specified_record_id(record)


@pytest.mark.parametrize(
    ("keys", "as_strings"),
    [
        ({True: 1, "b": 2}, {"true": 1, "b": 2}),
        ({None: 1, "b": 2}, {"null": 1, "b": 2}),
        ({1.5: 1, "b": 2}, {"1.5": 1, "b": 2}),
        ({10: 1, "9": 2}, {"10": 1, "9": 2}),
        ({(1, 2): 1}, {"(1, 2)": 1}),
        ({1: "lost", "1": "kept"}, {"1": "kept"}),
        ({"1": "kept", 1: "lost"}, {"1": "kept"}),
    ],
)
def test_keys_of_mixed_types_are_hashed_as_json_writes_them(keys: dict[Any, Any], as_strings: dict[str, Any]) -> None:
    odd = project_telemetry_mapping(with_metadata(odd={"deep": [keys]}))
    assert odd.record_id == specified_record_id(with_metadata(odd={"deep": [as_strings]}))


def test_a_mapping_that_is_no_dict_is_hashed_as_the_dict_of_it() -> None:
    record = with_metadata(phase_scope=SCOPE)
    for mapping in (MappingProxyType(record), UserDict(record), OrderedDict(record)):
        assert project_telemetry_mapping(mapping) == project_telemetry_mapping(record)
    renamed = Renamed(record)
    assert project_telemetry_mapping(renamed).record_id == specified_record_id(renamed)


# --- freezing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "frozen"),
    [
        ([1, [2]], (1, (2,))),
        ((1, [2]), (1, (2,))),
        (deque([1]), (1,)),
        (UserList([[1]]), ((1,),)),
        ({1}, frozenset({1})),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        ({"a": {"b": [1]}}, {"a": {"b": (1,)}}),
        (UserDict(a=[1]), {"a": (1,)}),
        ({1: "x", None: "y", (2,): "z", Name("n"): "w"}, {"1": "x", "None": "y", "(2,)": "z", "n": "w"}),
    ],
)
def test_every_container_is_frozen_and_keyed_by_str_wherever_it_stands(value: Any, frozen: Any) -> None:
    for envelope in (
        project_telemetry_mapping(with_metadata(value=value)),
        ProjectedTelemetryRecord(**{**projected_record_to_dict(SMALL), "attributes": {"value": value}}),
    ):
        assert envelope.attributes["value"] == frozen
        assert_frozen(envelope.attributes)
    in_resource = project_telemetry_mapping(event(host=value)).resource
    assert in_resource["host"] == frozen
    assert_frozen(in_resource)
    in_correlation = project_telemetry_mapping(with_metadata(phase_scope={"scope_id": value})).correlation
    assert in_correlation["phase.scope_id"] == frozen
    assert_frozen(in_correlation)


SMALL = project_telemetry_mapping(SAMPLE)


@pytest.mark.parametrize("name", [*projected_record_to_dict(SMALL), "unheard_of", "_record_id", "__class__"])
def test_an_envelope_refuses_to_be_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(SMALL, name, 1)
    with pytest.raises(AttributeError):
        delattr(SMALL, name)


def test_sets_and_bytes_survive_the_way_through_a_dict() -> None:
    envelope = project_telemetry_mapping(with_metadata(a={1, 2}, b=bytearray(b"x")))
    plain = projected_record_to_dict(envelope)
    assert plain["attributes"]["a"] == {1, 2}
    assert ProjectedTelemetryRecord(**plain) == envelope


# --- the envelope as an object ---------------------------------------------------------------------------------------


def test_envelopes_differ_where_any_field_does() -> None:
    fields = projected_record_to_dict(SMALL)
    for name, value in fields.items():
        other = {"other": 1} if isinstance(value, dict) else "other"
        assert ProjectedTelemetryRecord(**{**fields, name: other}) != SMALL
    assert fields != SMALL


def test_the_three_mappings_are_empty_by_default() -> None:
    fields = projected_record_to_dict(SMALL)
    for name in ("resource", "attributes", "correlation"):
        del fields[name]
    bare = ProjectedTelemetryRecord(**fields)
    assert (dict(bare.resource), dict(bare.attributes), dict(bare.correlation)) == ({}, {}, {})


@pytest.mark.parametrize("make", [project_telemetry_mapping, project_owned_event])
def test_copies_and_pickles_are_equal(make: Any) -> None:
    envelope = make(with_metadata(phase_scope=copy.deepcopy(SCOPE), values=[1, [2.5]]))
    for twin in (copy.copy(envelope), copy.deepcopy(envelope), pickle.loads(pickle.dumps(envelope))):
        assert twin == envelope
        assert_frozen(twin.attributes)


def test_an_envelope_s_repr_is_the_call_that_makes_it() -> None:
    envelope = project_telemetry_mapping(with_metadata(phase_scope=SCOPE))
    assert eval(repr(envelope)) == envelope


def test_equal_envelopes_are_one_in_a_set() -> None:
    assert len({project_telemetry_mapping(SAMPLE), project_owned_event(event()), SMALL}) == 1


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [None, [], "x", 3])
def test_what_is_no_mapping_is_refused(record: Any) -> None:
    with pytest.raises(ValueError, match="must be a mapping"):
        project_telemetry_mapping(record)


def test_a_record_that_contains_itself_is_refused_with_a_value_error() -> None:
    in_a_dict: dict[str, Any] = {}
    in_a_dict["loop"] = in_a_dict
    in_a_list: list[Any] = []
    in_a_list.append(in_a_list)
    for loop in (in_a_dict, in_a_list):
        with pytest.raises(ValueError, match="contains itself"):
            project_telemetry_mapping(with_metadata(loop=loop))
        with pytest.raises(ValueError, match="contains itself"):
            project_telemetry_mapping(event(loop=loop))
        with pytest.raises(ValueError, match="contains itself"):
            _ = project_owned_event(with_metadata(loop=loop)).attributes


def test_a_metadata_key_can_not_stand_in_for_an_event_s_own_key() -> None:
    class Host:
        def __str__(self) -> str:
            return "host"

    true: dict[Any, Any] = event(host="true")
    false: dict[Any, Any] = {Host(): "false"}
    for record in ({**false, **true}, {**true, **false}):
        assert project_telemetry_mapping(record).resource["host"] == "true"


# --- distinct resources and correlations -----------------------------------------------------------------------------


def test_distinct_resources_come_as_plain_dicts_in_the_order_first_seen() -> None:
    hosts = ["b", "a", "b", ["c"], "a"]
    found = unique_projected_resources(project_telemetry_mapping(event(host=host)) for host in hosts)
    assert [resource["host"] for resource in found] == ["b", "a", ["c"]]
    assert {type(resource) for resource in found} == {dict}


def test_distinct_correlations_are_told_apart_by_their_json() -> None:
    ranks: list[Any] = [1, True, 1.0, 1]
    found = unique_projected_correlations([project_telemetry_mapping(event(rank=rank)) for rank in ranks])
    assert [json.dumps(correlation["rank"]) for correlation in found] == ["1", "true", "1.0"]


def test_the_schema_version_is_1() -> None:
    assert SMALL.schema_version == TELEMETRY_PROJECTION_SCHEMA_VERSION == 1
