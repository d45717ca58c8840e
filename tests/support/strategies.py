"""Hypothesis strategies that several tests draw from."""

from __future__ import annotations

from hypothesis import strategies as st

json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
scope_keys = ("action", "name", "path", "scope_id", "parent_scope_id", "duration_ns", "status", "error_type")
odd_scopes = st.fixed_dictionaries({}, optional=dict.fromkeys(scope_keys, json_like)) | st.fixed_dictionaries(
    {"action": st.sampled_from(["enter", "exit"]), "path": st.lists(st.text(max_size=3), min_size=1, max_size=3)},
    optional=dict.fromkeys(scope_keys[3:], json_like),
)
odd_events = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({"phase_scope": odd_scopes}) | json_like},
    optional={"timestamp_ns": json_like, "event_type": json_like},
)
