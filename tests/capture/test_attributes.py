"""Whatever a user gives a phase: nothing breaks or is kept alive, nothing of the user's runs, the JSON is valid."""

from __future__ import annotations

import enum
import math
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import phasescope
from phasescope import phase, track
from phasescope.capture.attributes import (
    MAX_ATTRIBUTES,
    MAX_TEXT,
    clean_attributes,
    clean_name,
    clean_value,
)
from support.assertions import events_of, scopes

if TYPE_CHECKING:
    from phasescope import Session

pytestmark = pytest.mark.neutral


def written(session: Session, **attributes: object) -> dict[str, Any]:
    """The attributes of a phase as they are read back."""
    with phase("step", **attributes):
        pass
    found: dict[str, Any] = scopes(session)[-1].get("attributes", {})
    assert scopes(session, "enter")[-1].get("attributes", {}) == found
    return found


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Long(float):
    """A plain subclass."""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1, 1),
        (True, True),
        (None, None),
        (0.5, 0.5),
        ("text", "text"),
        ("", ""),
        ("größer → 7 µs", "größer → 7 µs"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (Long("nan"), "nan"),
        (Long(2.5), 2.5),
        (2**63 - 1, 2**63 - 1),
        (-(2**63) + 1, -(2**63) + 1),
        (2**63, "<int of 64 bits>"),
        (10**4_000, "<int of 13288 bits>"),
        (Level.HIGH, 3),
        (Colour.RED, f"<{__name__}.Colour>"),
        ("a\ud800b", "a?b"),
        ("x" * MAX_TEXT, "x" * MAX_TEXT),
        ("x" * 10_000_000, "x" * (MAX_TEXT - 1) + "…"),
        (b"\xff" * 10, "<bytes of 10>"),
        (bytearray(3), "<bytearray of 3>"),
        ([1, 2], "<list of 2>"),
        ((1,), "<tuple of 1>"),
        ({"a": 1}, "<dict of 1>"),
        ({1, 2, 3}, "<set of 3>"),
        (range(10**30), "<range>"),
        (1 + 2j, "<complex>"),
        (object(), "<object>"),
        (int, "<type>"),
        (len, "<builtin_function_or_method>"),
        (threading, "<module>"),
    ],
)
def test_a_value_becomes_a_json_scalar(session: Session, value: object, said: object) -> None:
    found = written(session, value=value)
    assert found == {"value": said}
    assert type(found["value"]) is type(said)


def test_a_thousand_attributes_are_cut_and_the_rest_is_counted(session: Session) -> None:
    found = written(session, **{f"a{number}": number for number in range(1000)})
    assert found == {**{f"a{number}": number for number in range(MAX_ATTRIBUTES)}, "…": "<984 more>"}


def test_the_largest_attributes_still_fit_an_event(session: Session) -> None:
    found = written(session, **{f"{number:02d}" + "k" * 1000: "ä" * 1000 for number in range(16)})
    assert len(found) == MAX_ATTRIBUTES
    assert all(len(key) == len(value) == MAX_TEXT for key, value in found.items())


def test_an_event_too_large_for_the_ring_is_shortened_not_lost(session: Session) -> None:
    deep = [phase("𝄞" * 1000) for _ in range(40)]
    for scope in deep:
        scope.__enter__()
    with phase("last", **{f"{number:02d}" + "𝄞" * 1000: "𝄞" * 1000 for number in range(16)}):
        pass
    for scope in reversed(deep):
        scope.__exit__(None, None, None)
    events = session.events()
    assert len([event for event in events if event["event_type"] == "phase_exit"]) == 41
    last = next(
        e for e in events if e["event_type"] == "phase_enter" and e["metadata"]["phase_scope"]["name"] == "last"
    )
    assert last["metadata"]["shortened"] is True
    assert session.dropped == 0
    for event in events:
        phasescope.validate_event(event)


def test_keys_by_double_star_are_text_too(session: Session) -> None:
    class Key(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise RuntimeError("no")

        def __hash__(self) -> int:
            return 7

    found = written(session, **{"a\ud800": 1, "": 2, "self": 3, "name": 4, Key("key"): 5, "k" * 1000: 6})
    assert found == {"a?": 1, "": 2, "self": 3, "name": 4, "key": 5, "k" * (MAX_TEXT - 1) + "…": 6}
    assert {type(key) for key in found} == {str}


def test_keys_that_are_no_text_are_refused_by_python_itself() -> None:
    wrong: Any = {1: "a"}
    with pytest.raises(TypeError, match="keywords must be strings"):
        phase("step", **wrong)


class Touched(BaseException):
    """The user's code was run. No Exception, so that nobody catches it by the way."""


def _touch(*_args: object, **_kwargs: object) -> Any:
    raise Touched


_HOSTILE = dict.fromkeys(
    [
        *(
            "__str__",
            "__repr__",
            "__format__",
            "__len__",
            "__bool__",
            "__eq__",
            "__ne__",
            "__lt__",
            "__le__",
            "__hash__",
        ),
        *("__getattribute__", "__getattr__", "__iter__", "__int__", "__float__", "__index__", "__getitem__", "__add__"),
        *("__sizeof__", "__reduce__", "__dir__", "__contains__", "__mod__", "__array__", "strip", "isascii", "encode"),
    ],
    _touch,
)


def hostile(base: type, *args: object) -> Any:
    """An object that raises whatever is asked of it, even its class and its class's module."""
    body = {**_HOSTILE, "__class__": property(_touch), "__module__": property(_touch), "__slots__": ("__weakref__",)}
    if base in (int, str, bytes, tuple):
        del body["__slots__"]
    meta = type("Meta", (type,), {"__module__": property(_touch), "__name__": property(_touch), "__str__": _touch})
    kind = meta("Hostile", (base,), body)
    return base.__new__(kind, *args)


# What it is made of, not itself: pytest asks its parameters a lot.
@pytest.mark.parametrize(
    ("made_of", "said"),
    [
        ((object,), "<Hostile>"),
        ((str, "text"), "text"),
        ((str, "x" * 1000), "x" * (MAX_TEXT - 1) + "…"),
        ((int, 7), 7),
        ((int, 2**100), "<int of 101 bits>"),
        ((float, 0.5), 0.5),
        ((float, "nan"), "nan"),
        ((list,), "<Hostile>"),
        ((dict,), "<Hostile>"),
        ((bytes, b"abc"), "<Hostile>"),
        ((tuple, (1, 2)), "<Hostile>"),
    ],
    ids=["object", "str", "long str", "int", "huge int", "float", "nan", "list", "dict", "bytes", "tuple"],
)
def test_nothing_of_the_users_runs(session: Session, made_of: tuple[Any, ...], said: object) -> None:
    value = hostile(*made_of)
    with phase("step", value=value) as scope:
        pass
    with phase(value):
        pass
    for _ in track([1], value, value=value):
        pass
    phase(value, value=value)(print)
    found = [event["metadata"]["phase_scope"] for event in events_of(session, "phase_exit")]
    assert found[0]["attributes"] == {"value": said}
    assert found[1]["name"] == (said if made_of[0] is str else "<Hostile>")
    assert scope.phase_attributes is not None
    assert type(scope.phase_attributes["value"]) in (str, int, float)


class Watched:
    """Something that can be seen to be gone."""


class WatchedText(str):
    __slots__ = ("__weakref__",)


class WatchedFloat(float):
    pass


@pytest.mark.parametrize("make", [Watched, lambda: WatchedText("text"), lambda: WatchedFloat(7)])
def test_nothing_is_kept_alive_while_the_phase_is_open(session: Session, make: Any) -> None:
    value = make()
    ref = weakref.ref(value)
    with phase("step", value=value):
        del value
        assert ref() is None
    name = make()
    ref = weakref.ref(name)
    with phase(name):
        del name
        assert ref() is None
    assert len(scopes(session)) == 2


def test_a_tensor_is_described_not_read_and_not_kept(session: Session) -> None:
    torch = pytest.importorskip("torch")
    for requires_grad in (False, True):
        tensor = torch.zeros(3, requires_grad=requires_grad)
        ref = weakref.ref(tensor)
        with phase("step", loss=tensor, total=(tensor * 2).sum()):
            del tensor
            assert ref() is None
        assert scopes(session)[-1]["attributes"] == {"loss": "<torch.Tensor>", "total": "<torch.Tensor>"}
    parameter = torch.nn.Parameter(torch.zeros(3))
    assert clean_value(parameter) == "<torch.nn.parameter.Parameter>"
    with torch.device("meta"):
        assert clean_value(torch.zeros(3)) == "<torch.Tensor>"
    with phase(torch.zeros(3)):
        pass
    assert scopes(session)[-1]["name"] == "<torch.Tensor>"


def test_numpys_scalars(session: Session) -> None:
    numpy = pytest.importorskip("numpy")
    found = written(
        session, a=numpy.float64(0.5), b=numpy.float64("nan"), c=numpy.int64(3), d=numpy.zeros(3), e=numpy.str_("text")
    )
    assert found == {"a": 0.5, "b": "nan", "c": "<numpy.int64>", "d": "<numpy.ndarray>", "e": "text"}


def test_the_users_own_dict_is_left_as_it_was(session: Session) -> None:
    given = {"n": 1, "list": [1]}
    with phase("step", **given):
        given["n"] = 2
    assert scopes(session)[-1]["attributes"] == {"n": 1, "list": "<list of 1>"}
    assert given == {"n": 2, "list": [1]}


_ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=5,
)


@given(name=_ANYTHING, attributes=st.dictionaries(st.text(st.characters()), _ANYTHING, max_size=20))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_anything_at_all_is_written(session: Session, name: Any, attributes: dict[str, Any]) -> None:
    with phase(name, **attributes):
        pass
    (event,) = session.events(last=1)
    phasescope.validate_event(event)
    scope = event["metadata"]["phase_scope"]
    assert scope["action"] == "exit"
    assert scope["name"] == clean_name(name)
    assert scope["name"].strip()
    assert scope.get("attributes") == clean_attributes(attributes)
    assert (session.dropped, session.irregular) == (0, 0)
