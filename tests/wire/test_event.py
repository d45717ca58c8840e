from __future__ import annotations

import json
import pickle
from collections import UserDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasescope.wire.event import (
    COUNTERS,
    EVENT_KEYS,
    OPTIONAL_KEYS,
    REQUIRED_KEYS,
    Identity,
    InvalidEventError,
    resolve_identity,
    validate_event,
)

VECTORS = json.loads((Path(__file__).parent / "conformance" / "events.json").read_text(encoding="utf-8"))
SAMPLE: dict[str, Any] = VECTORS[0]["record"]


def error_of(record: Any) -> InvalidEventError:
    with pytest.raises(InvalidEventError) as caught:
        validate_event(record)
    return caught.value


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_the_published_vectors_hold(vector: dict[str, Any]) -> None:
    if vector["valid"]:
        validate_event(vector["record"])
    else:
        error = error_of(vector["record"])
        assert error.field == vector["field"]
        assert error.field in str(error)


def test_an_event_has_nineteen_required_keys_and_four_optional_ones() -> None:
    assert (len(REQUIRED_KEYS), len(OPTIONAL_KEYS)) == (19, 4)
    assert set(EVENT_KEYS) == set(SAMPLE)


def test_counters_are_the_eight_byte_figures() -> None:
    assert len(COUNTERS) == 8
    assert all(key.endswith("_bytes") for key in COUNTERS)


def test_any_mapping_is_validated_and_left_as_it_is() -> None:
    record = UserDict(SAMPLE)
    validate_event(record)
    assert record == SAMPLE


@pytest.mark.parametrize("record", [None, [], "x", 3, [("session_id", "s")]])
def test_what_is_no_mapping_is_invalid(record: Any) -> None:
    assert error_of(record).field == "record"


def test_all_unknown_keys_are_named_and_the_first_in_sorted_order_is_the_field() -> None:
    error = error_of({"zebra": 1, **SAMPLE, "apple": 2, 7: 3})
    assert error.field == "<int>"
    assert all(name in str(error) for name in ("zebra", "apple", "<int>"))


def test_unknown_keys_come_before_everything_else() -> None:
    assert error_of({"zebra": 1}).field == "zebra"


def test_the_first_key_in_the_specification_s_order_is_the_field() -> None:
    assert error_of({**SAMPLE, "rank": -1, "host": "", "metadata": None}).field == "host"
    assert error_of({**SAMPLE, "device_used_bytes": 10**18, "metadata": None}).field == "metadata"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("rank", 1.0, ["rank", "float 1.0", "an int >= 0"]),
        ("rank", True, ["rank", "True", "an int >= 0"]),
        ("host", " ", ["host", "str ' '", "not blank"]),
        ("pid", None, ["pid", "None", "an int >= -1"]),
        ("metadata", [1], ["metadata", "list", "mapping"]),
        pytest.param("pid", -(10**5000), ["pid", "16610 bits", "an int >= -1"], id="huge int"),
        ("session_id", b"x" * 1000, ["session_id", "bytes", "not blank"]),
    ],
)
def test_the_error_says_what_was_found_and_what_is_right(key: str, value: Any, words: list[str]) -> None:
    message = str(error_of({**SAMPLE, key: value}))
    assert [word for word in words if word not in message] == []
    assert len(message) < 200


def test_a_missing_key_is_called_missing() -> None:
    record = dict(SAMPLE)
    del record["host"]
    assert "host is missing" in str(error_of(record))


def test_an_object_is_never_turned_into_text() -> None:
    class Untouchable:
        def __repr__(self) -> str:
            raise AssertionError("touched")

        __str__ = __repr__

    thing = Untouchable()
    assert "Untouchable" in str(error_of({**SAMPLE, "host": thing}))
    assert "Untouchable" in str(error_of({**SAMPLE, thing: 1}))
    validate_event({**SAMPLE, "metadata": {"anything": thing}})


def test_the_error_keeps_its_field_when_pickled() -> None:
    error = pickle.loads(pickle.dumps(error_of({**SAMPLE, "host": 3})))
    assert (type(error), error.field) == (InvalidEventError, "host")
    assert str(error) == str(error_of({**SAMPLE, "host": 3}))


KEYS = st.sampled_from(EVENT_KEYS) | st.text(max_size=3) | st.integers()
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_an_error_is_always_about_a_key_that_is_there_or_required(changes: dict[Any, Any]) -> None:
    record = {**SAMPLE, **changes}
    record.pop("host", None)
    error = error_of(record)
    assert error.field == "<int>" or error.field in {"host", *record}


TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_LOCAL_RANK": "2", "OMPI_COMM_WORLD_SIZE": "6"}
SLURM = {"SLURM_PROCID": "7", "SLURM_LOCALID": "0", "SLURM_NTASKS": "9"}


def test_a_process_on_its_own_is_rank_0_of_1() -> None:
    assert resolve_identity(environ={}) == Identity(job_id=None, rank=0, local_rank=0, world_size=1)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (TORCHRUN | OPEN_MPI | SLURM, (3, 1, 8)),
        (OPEN_MPI | SLURM, (5, 2, 6)),
        (SLURM, (7, 0, 9)),
        ({"RANK": "3"} | OPEN_MPI, (5, 2, 6)),
        ({"WORLD_SIZE": "8", "LOCAL_RANK": "1"} | SLURM, (7, 0, 9)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, (3, 3, 8)),
        ({"LOCAL_RANK": "1"}, (0, 0, 1)),
    ],
)
def test_the_first_launcher_whose_rank_and_world_size_are_both_set_counts(
    environ: dict[str, str], expected: tuple[int, int, int]
) -> None:
    assert resolve_identity(environ=environ)[1:] == expected


@pytest.mark.parametrize(
    "nonsense",
    [
        {"RANK": "x"},
        {"RANK": ""},
        {"RANK": "-1"},
        {"RANK": "8"},
        {"WORLD_SIZE": "0"},
        {"WORLD_SIZE": "1.0"},
        {"RANK": "9" * 5000},
    ],
)
def test_a_launcher_that_makes_no_sense_is_passed_over(nonsense: dict[str, str]) -> None:
    assert resolve_identity(environ=TORCHRUN | nonsense | SLURM)[1:] == (7, 0, 9)


@pytest.mark.parametrize("local_rank", ["", "x", "-1", "8"])
def test_a_local_rank_that_makes_no_sense_counts_as_the_rank(local_rank: str) -> None:
    assert resolve_identity(environ=TORCHRUN | {"LOCAL_RANK": local_rank})[1:] == (3, 3, 8)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from([*TORCHRUN, *OPEN_MPI, *SLURM, "SLURM_JOB_ID"]), st.text(max_size=3)))
def test_no_environment_raises_and_every_identity_is_that_of_a_valid_event(environ: dict[str, str]) -> None:
    validate_event({**SAMPLE, **resolve_identity(environ=environ)._asdict()})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TORCHELASTIC_RUN_ID": "run", "SLURM_JOB_ID": "12"}, "run"),
        ({"TORCHELASTIC_RUN_ID": " ", "SLURM_JOB_ID": "12"}, "12"),
        ({"SLURM_JOB_ID": ""}, None),
    ],
)
def test_the_job_comes_from_torchrun_then_slurm_and_blank_is_none(
    environ: dict[str, str], expected: str | None
) -> None:
    assert resolve_identity(environ=environ).job_id == expected


def test_what_is_passed_comes_before_the_environment_field_by_field() -> None:
    environ = TORCHRUN | {"SLURM_JOB_ID": "12"}
    assert resolve_identity(environ=environ, rank=4) == ("12", 4, 1, 8)
    assert resolve_identity(environ=environ, local_rank=0) == ("12", 3, 0, 8)
    assert resolve_identity(environ=environ, world_size=4) == ("12", 3, 1, 4)
    assert resolve_identity(environ=environ, job_id="mine") == ("mine", 3, 1, 8)
    assert resolve_identity(environ={}, rank=2, world_size=4) == (None, 2, 2, 4)


def test_the_environment_s_local_rank_gives_way_to_a_smaller_world_that_is_passed() -> None:
    environ = TORCHRUN | {"LOCAL_RANK": "5"}
    assert resolve_identity(environ=environ, rank=1, world_size=2)[1:] == (1, 1, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [("rank", True), ("rank", 1.0), ("local_rank", "0"), ("world_size", [2]), ("job_id", 12)],
)
def test_an_argument_of_a_wrong_type_raises_a_type_error_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name} is .*, or None to take it from the environment"):
        resolve_identity(environ={}, **{name: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": -1}, "^rank is int -1; it must be >= 0"),
        ({"local_rank": -2}, "^local_rank is int -2; it must be >= 0"),
        ({"world_size": 0}, "^world_size is int 0; it must be >= 1"),
        ({"rank": 2}, "^rank=2 .* pass world_size as well"),
        ({"rank": 2, "world_size": 2}, "^rank=2 .* pass world_size as well"),
        ({"local_rank": 1}, "^local_rank=1 .* pass world_size as well"),
        ({"job_id": "  "}, "^job_id is blank; pass None"),
    ],
)
def test_an_argument_out_of_range_raises_a_value_error_that_names_it_and_the_way_out(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_identity(environ={}, **arguments)


def test_a_world_size_that_has_no_room_for_the_environment_s_rank_asks_for_the_rank() -> None:
    with pytest.raises(ValueError, match=r"^world_size=2 .*rank, 3; pass rank as well"):
        resolve_identity(environ=TORCHRUN, world_size=2)


def test_the_process_s_own_environment_is_what_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, *OPEN_MPI, *SLURM, "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert resolve_identity() == (None, 1, 1, 2)
