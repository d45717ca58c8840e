"""Values that a collector can take, whatever a training or a file says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `otlp` is not installed")

from opentelemetry.exporter.otlp.proto.common._internal import _encode_attributes

from phasescope.exporters.otlp_values import cleaned, resource_of, span_id, trace_id

texts = st.text(st.characters(exclude_categories=()), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=3) | st.just(object()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4) | st.tuples(inner),
    max_leaves=20,
)


@given(st.dictionaries(texts, values, max_size=5))
def test_whatever_it_is_can_be_encoded(attributes: dict[str, Any]) -> None:
    made = cleaned(attributes)
    encoded = _encode_attributes(made) or []
    assert len(encoded) == len(made)
    assert all(pair.SerializeToString() for pair in encoded)


def test_what_is_too_much_is_cut() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    made = cleaned({"a": "x" * 10_000, "b": list(range(1000)), "c": deep, "d": None, "e": 1 << 70})
    assert (len(made["a"]), made["a"][-1], len(made["b"])) == (4096, "…", 128)
    assert "<list>" in str(made["c"])
    assert "d" not in made
    assert made["e"] == str(1 << 70)


def test_a_session_is_one_resource_over_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=train-0,host.name=other")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "training")
    told = resource_of({"session_id": "a", "host": "node-7", "command": ["train.py", "--key=s3cret"], "rank": 0})
    assert {key: told.attributes[key] for key in ("k8s.pod.name", "host.name", "service.name", "phasescope.rank")} == {
        "k8s.pod.name": "train-0",
        "host.name": "node-7",
        "service.name": "training",
        "phasescope.rank": 0,
    }
    assert "s3cret" not in str(told.attributes)


def test_where_a_session_runs_is_what_it_said_and_not_where_its_exporter_does(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"k8s.pod.name": "agent-x", "k8s.pod.uid": "1", "k8s.node.name": "n7", "k8s.cluster.name": "c", "team": "a"}
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", ",".join(f"{key}={value}" for key, value in own.items()))
    said = {"k8s.pod.name": "train-0", "slurm.job.id": "71", "service.name": "mine", "k8s.x": 7}
    told = resource_of({"session_id": "a", "host": "node-7", "resource": said}).attributes
    assert {key: told[key] for key in told if key.startswith(("k8s.", "slurm.", "team"))} == {
        "k8s.pod.name": "train-0",
        "slurm.job.id": "71",
        "k8s.node.name": "n7",
        "k8s.cluster.name": "c",
        "team": "a",
    }
    assert told["service.name"] == "phasescope"
    hostile: Any
    for hostile in (None, [], "k8s.pod.name", {7: "x"}, {"k8s.pod.name": ["x"]}):
        assert resource_of({"session_id": "a", "resource": hostile}).attributes["k8s.pod.name"] == "agent-x"


def test_ids_are_the_same_everywhere_and_fit() -> None:
    assert span_id("a:1") == span_id("a:1") != span_id("a:2")
    assert 0 < span_id("a:1") < 1 << 64 < trace_id("a:1") < 1 << 128
