"""A wrong argument of start() raises at once, by its name and with what would be right, and leaves nothing behind."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path
from typing import Any

import pytest

import phasescope
from phasescope.capture.options import Options
from phasescope.testing import FakeBackend, FakeClock

pytestmark = pytest.mark.neutral

WHOLE = "must be an int, not"
EXCEPTIONS = "must (be a list of|hold) exception classes, not"


class NoClock:
    """Looks like one from afar."""

    def monotonic_ns(self) -> int:
        return 0


WRONG_TYPES: list[tuple[str, Any, str]] = [
    ("backends", 3, 'must be "auto" or a list of names, not a int'),
    ("backends", None, 'must be "auto" or a list of names, not a NoneType'),
    ("backends", {"cpu"}, 'must be "auto" or a list of names, not a set'),
    ("backends", [3], "a int is neither a backend's name nor a Backend; it has no ready"),
    ("backends", [FakeBackend], "must be text that is not blank"),
    ("devices", "0", "must be a list of device indices, not a str"),
    ("devices", 0.0, "must be a list of device indices, not a float"),
    ("devices", True, WHOLE),
    ("devices", ["cuda:0"], WHOLE),
    ("interval_ms", "100", WHOLE),
    ("interval_ms", 0.1, WHOLE),
    ("interval_ms", True, WHOLE),
    ("interval_ms", None, WHOLE),
    ("capacity_bytes", "16MiB", WHOLE),
    ("capacity_bytes", 16.0 * 2**20, WHOLE),
    ("directory", 3, "must be a path, not a int"),
    ("directory", b"/tmp", "must be a path, not a bytes"),
    ("job_id", 12, "must be a str, or None"),
    ("rank", "0", "must be an int, or None"),
    ("local_rank", 0.0, "must be an int, or None"),
    ("world_size", True, "must be an int, or None"),
    ("report_exceptions", "ValueError", EXCEPTIONS),
    ("report_exceptions", [ValueError()], EXCEPTIONS),
    ("report_exceptions", [int], EXCEPTIONS),
    ("report_exceptions", int, EXCEPTIONS),
    ("peaks", 1, "must be True or False"),
    ("device_time", "yes", "must be True or False"),
    ("census", 1, "must be True or False"),
    ("requests", 1, "must be True or False"),
    ("sites", 1, "must be True or False"),
    ("warning_share", "90%", "must be a share of the device's memory such as 0.9, or None"),
    ("critical_share", True, "must be a share of the device's memory such as 0.9, or None"),
    ("warning_bytes", 1e9, WHOLE),
    ("critical_bytes", "1GB", WHOLE),
    ("oom_snapshot", True, "must be a path, not a bool"),
    ("record", 3, "must be a path, not a int"),
    ("record_bytes", None, WHOLE),
    ("export", "http://127.0.0.1:4318", 'must be a dict such as {"otlp": "http://127.0.0.1:4318"}, not a str'),
    ("clock", NoClock(), "a NoClock is not a clock; it has no wall_ns, wait_until"),
    ("clock", 0, "a int is not a clock"),
]

WRONG_VALUES: list[tuple[str, Any, str]] = [
    ("backends", "cpu", 'must be "auto" or a list, e.g. \\["cpu"\\]'),
    ("backends", [], 'must not be empty; \\["cpu"\\] looks at the host alone'),
    ("backends", ["cupa"], 'there is no "cupa"; known are .*cpu'),
    ("backends", ["cpu", "cpu"], '"cpu" is there more than once'),
    ("devices", -1, "must be from 0 to"),
    ("devices", [0, -2], "must be from 0 to"),
    ("devices", [], "must not be empty; leave it out"),
    ("interval_ms", 0, "must be from 1 to"),
    ("interval_ms", -5, "must be from 1 to"),
    ("interval_ms", 10**9, "must be from 1 to"),
    ("capacity_bytes", 0, "must be from 65536 to"),
    ("capacity_bytes", 2**60, "must be from 65536 to"),
    ("directory", "", "must be a path of text that is not blank"),
    ("directory", " ", "must be a path of text that is not blank"),
    ("directory", "rings\0", "must be a path of text that is not blank"),
    ("job_id", " ", "is blank; pass None"),
    ("rank", -1, "must be >= 0, or None"),
    ("rank", 1, "pass world_size as well"),
    ("local_rank", 7, "pass world_size as well"),
    ("world_size", 0, "must be >= 1, or None"),
    ("warning_share", 0, "must be above 0 and at most 1.*None switches it off"),
    ("critical_share", 97, "must be above 0 and at most 1"),
    ("critical_share", float("nan"), "must be above 0 and at most 1"),
    ("critical_share", 0.5, "warning_share .* must not be above critical_share"),
    ("warning_bytes", 0, "must be from 1 to"),
    ("critical_bytes", -1, "must be from 1 to"),
    ("oom_snapshot", " ", "must be a path of text that is not blank"),
    ("record", "", "must be a path of text that is not blank"),
    ("record", "run.csv", "must be a directory or end in .*jsonl.*convert"),
    ("record_bytes", 100, "must be from 1048576 to"),
    ("export", {}, "where to"),
]


def described(case: object) -> str:
    return case if isinstance(case, str) and len(case) < 20 else repr(case)[:20]


def nothing_began(tmp_path: Path) -> bool:
    """No session, no thread, and not even the directory where its ring would have been."""
    return (
        phasescope.current() is None
        and not any(thread.name.startswith("phasescope") for thread in threading.enumerate())
        and not (tmp_path / "phasescope").exists()
    )


@pytest.mark.parametrize(("name", "value", "says"), WRONG_TYPES, ids=described)
def test_a_wrong_type_is_a_type_error(tmp_path: Path, name: str, value: Any, says: str) -> None:
    with pytest.raises(TypeError, match=f"^{name}.*{says}"):
        phasescope.start(**{name: value})
    assert nothing_began(tmp_path)


@pytest.mark.parametrize(("name", "value", "says"), WRONG_VALUES, ids=described)
def test_a_wrong_value_is_a_value_error(tmp_path: Path, name: str, value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*{says}" if name not in says else says):
        phasescope.start(**{name: value})
    assert nothing_began(tmp_path)


def test_every_argument_has_a_wrong_type_that_is_refused() -> None:
    assert {name for name, _, _ in WRONG_TYPES} == set(Options._fields)


def test_an_argument_that_there_is_not_is_pythons_own_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="interval_s"):
        phasescope.start(interval_s=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        phasescope.start("auto")  # type: ignore[call-arg]
    assert nothing_began(tmp_path)


def test_a_session_starts_well_after_a_wrong_argument() -> None:
    with pytest.raises(ValueError, match="interval_ms"):
        phasescope.start(interval_ms=0)
    with phasescope.start(backends=[FakeBackend()]) as session:
        assert phasescope.current() is session


def test_a_wrong_argument_beside_a_running_session_raises_too_and_leaves_it_running() -> None:
    with phasescope.start(backends=[FakeBackend()]) as session:
        with pytest.raises(ValueError, match="capacity_bytes"):
            phasescope.start(capacity_bytes=1)
        assert phasescope.current() is session
        assert session.reader().state == "running"


def test_a_huge_value_is_not_shown_whole() -> None:
    with pytest.raises(TypeError) as caught:
        phasescope.start(interval_ms="9" * 10_000)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("devices", 1, (1,)),
        ("devices", [0, 1], (0, 1)),
        ("report_exceptions", ValueError, (ValueError,)),
        ("report_exceptions", [ValueError, KeyboardInterrupt], (ValueError, KeyboardInterrupt)),
        ("directory", Path("somewhere"), "somewhere"),
        ("warning_share", None, None),
        ("critical_share", 1, 1),
        ("warning_bytes", 2**40, 2**40),
    ],
)
def test_what_is_right_is_kept_in_one_form(name: str, value: Any, kept: Any) -> None:
    assert getattr(checked(**{name: value}), name) == kept


def checked(**given: Any) -> Options:
    plain = {name: parameter.default for name, parameter in inspect.signature(phasescope.start).parameters.items()}
    return Options.checked(**{**plain, **given})


def test_the_options_that_differ_are_named_where_they_were_given() -> None:
    defaults = checked()._asdict()
    one = checked(rank=1, world_size=4, clock=FakeClock())
    assert one.differing(checked(rank=1, world_size=4, clock=one.clock), defaults) == []
    assert one.differing(checked(rank=2, world_size=4, interval_ms=7), defaults) == ["rank", "clock"]
    assert checked(backends=["cpu"]).differing(checked(backends=("cpu",)), defaults) == []
    assert checked().differing(one, defaults) == []
