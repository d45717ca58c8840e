"""Label values: no two paths share one, and none breaks a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasescope.exporters.label_text import MAX_CHARACTERS, OTHER, PhaseLabels, path_label, text_label

pytestmark = pytest.mark.neutral

# Signs that are special somewhere, so that paths which could be confused come up often.
names = st.text(alphabet='a/\\\n\x1b"{}n\udc80u(…é', max_size=8)
paths = st.lists(names, min_size=1, max_size=4).map(tuple)


@given(st.lists(paths, unique=True, min_size=2, max_size=30))
def test_different_paths_have_different_labels(those: list[tuple[str, ...]]) -> None:
    labels = [path_label(path) for path in those]
    assert len(set(labels)) == len(those)
    assert OTHER not in labels
    for label in labels:
        assert label.isprintable()
        assert label.encode().decode() == label


@pytest.mark.parametrize(
    ("path", "label"),
    [
        (("epoch", "forward"), "epoch/forward"),
        (("a/b",), "a\\/b"),
        (("a\nb\x1b[31m",), "a\\nb\\x1b[31m"),
        ((OTHER,), "\\(other)"),
        (("größe", "步"), "größe/步"),
    ],
)
def test_a_path_reads_as_it_is_written(path: tuple[str, ...], label: str) -> None:
    assert path_label(path) == label


def test_a_long_path_is_cut_and_still_its_own() -> None:
    one, other = path_label(("x" * 5000 + "1",)), path_label(("x" * 5000 + "2",))
    assert one != other
    assert len(one) == len(other) == MAX_CHARACTERS


def test_what_is_no_text_is_named_and_what_is_unknown_is_empty() -> None:
    assert [text_label(value) for value in (None, 7, "node-7", {"a": 1})] == ["", "7", "node-7", "<dict>"]


def test_phases_beyond_the_limit_and_too_deep_ones_are_one() -> None:
    labels = PhaseLabels(2)
    assert labels.label(("d",) * 65) == OTHER
    assert [labels.label((name,)) for name in "abcab"] == ["a", "b", OTHER, "a", "b"]
    assert labels.label(()) == OTHER
