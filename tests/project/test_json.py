"""JSON that every parser reads, whatever the data holds."""

from __future__ import annotations

import json

import pytest

from phasescope._json import json_text
from phasescope.views.page.html_page import embedded_json

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n\x9b31m\u202e"
NOT_NUMBERS = {"a": [float("nan"), float("inf"), -float("inf"), 1.5], "b": ({"c": float("nan")},)}


def test_what_is_no_number_is_null() -> None:
    assert json.loads(json_text(NOT_NUMBERS)) == {"a": [None, None, None, 1.5], "b": [{"c": None}]}
    assert json.loads(embedded_json(NOT_NUMBERS)) == json.loads(json_text(NOT_NUMBERS))


def test_text_is_ascii_and_comes_back_as_it_was() -> None:
    shown = json_text({"b": HOSTILE, "n": float("nan")})
    assert shown.isascii()
    assert shown.isprintable()
    assert json.loads(shown) == {"b": HOSTILE, "n": None}


def test_keys_are_what_json_has() -> None:
    odd = {True: 1, None: 2, 3: 3, (1, 2): 4, float("nan"): 5}
    assert json.loads(json_text(odd)) == {"true": 1, "null": 2, "3": 3, "(1, 2)": 4, "nan": 5}


def test_what_is_no_json_at_all_is_refused() -> None:
    with pytest.raises(TypeError):
        json_text({"a": object()})
