"""What is read of an event's fields, whatever a file puts there."""

from __future__ import annotations

from typing import Any

import pytest

from phasescope.analysis.event_fields import device_label, device_of


def test_a_device_is_its_backend_and_its_number() -> None:
    assert device_of({"device_id": 1, "metadata": {"backend": "cuda"}}) == ("cuda", 1)
    assert device_label("cuda", 1) == "cuda:1"


def test_the_host_is_called_so() -> None:
    assert device_label("cpu", -1) == "host"
    assert device_label("cuda", -1) == "cuda:-1"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"device_id": 0},
        {"device_id": True, "metadata": {"backend": "cuda"}},
        {"device_id": 2**63, "metadata": {"backend": "cuda"}},
        {"device_id": 0, "metadata": {"backend": 7}},
        {"device_id": 0, "metadata": []},
        {"metadata": {"backend": "cuda"}},
    ],
)
def test_what_does_not_say_both_names_no_device(event: dict[str, Any]) -> None:
    assert device_of(event) is None
