"""Who holds a device's memory: parts that add up, nothing divided that was not measured, nothing made up."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasescope.analysis.breakdown import LABELS, Breakdown, breakdown
from phasescope.analysis.devices import Devices
from phasescope.analysis.summary.summary import summarize
from phasescope.analysis.text.summary_text import holders
from support.events import MIB, MadeSession

CUDA: dict[str, Any] = {
    "allocator_allocated_bytes": 400,
    "allocator_reserved_bytes": 500,
    "allocator_inactive_bytes": 30,
    "device_used_bytes": 800,
    "device_free_bytes": 200,
    "device_total_bytes": 1000,
}
MEASURED = {"device_reserved_bytes": 20, "process_used_bytes": 560, "other_processes_bytes": 210}


def event(unknown: tuple[str, ...] = (), metadata: dict[str, Any] | None = None, **figures: int | None) -> Any:
    made = MadeSession()
    return made.event("sample", metadata={"unavailable": list(unknown), **(metadata or {})}, **{**CUDA, **figures})


def parts(found: Breakdown | None) -> dict[str, int]:
    assert found is not None
    return {part.name: part.size_bytes for part in found.parts}


def rest(found: Breakdown | None) -> str:
    assert found is not None
    (label,) = [part.label for part in found.parts if part.name == "unattributed"]
    return label


class TestDevice:
    def test_all_measured_all_told_apart(self) -> None:
        found = breakdown(event(metadata=MEASURED))
        assert parts(found) == {
            "live": 400,
            "slack": 100,
            "process_outside": 60,
            "other_processes": 210,
            "driver": 20,
            "unattributed": 10,
            "free": 200,
        }
        assert found is not None
        assert (found.total_bytes, found.fragmented_bytes) == (1000, 30)
        assert rest(found) == "unattributed (processes not listed)"

    def test_without_processes_there_is_one_bucket(self) -> None:
        found = breakdown(event())
        assert parts(found) == {"live": 400, "slack": 100, "unattributed": 300, "free": 200}
        assert rest(found) == "unattributed (context, other processes, driver)"

    def test_the_driver_alone_can_be_told_apart(self) -> None:
        found = breakdown(event(metadata={"device_reserved_bytes": 20}))
        assert parts(found) == {"live": 400, "slack": 100, "driver": 20, "unattributed": 280, "free": 200}
        assert rest(found) == "unattributed (context, other processes)"

    def test_this_process_alone_can_be_told_apart(self) -> None:
        """Where the driver knows what one process holds and not what another does."""
        found = breakdown(event(metadata={"process_used_bytes": 560}))
        assert parts(found)["process_outside"] == 60
        assert rest(found) == "unattributed (other processes, driver)"

    def test_an_allocator_that_does_not_say_what_it_reserved(self) -> None:
        found = breakdown(event(("allocator_reserved_bytes", "allocator_inactive_bytes")))
        assert parts(found) == {"live": 400, "unattributed": 400, "free": 200}
        assert rest(found).startswith("unattributed (allocator slack, context")
        assert found is not None
        assert found.fragmented_bytes is None

    def test_no_allocator_at_all(self) -> None:
        unknown = ("allocator_allocated_bytes", "allocator_reserved_bytes")
        assert parts(breakdown(event(unknown, MEASURED))) == {
            "process": 560,
            "other_processes": 210,
            "driver": 20,
            "unattributed": 10,
            "free": 200,
        }
        assert rest(breakdown(event(unknown))) == "unattributed (this process, other processes, driver)"

    def test_a_device_whose_use_is_not_known_leaves_one_bucket_with_what_is_free(self) -> None:
        found = breakdown(event(("device_used_bytes", "device_free_bytes")))
        assert parts(found) == {"live": 400, "slack": 100, "unattributed": 500}
        assert rest(found).endswith(", free)")

    def test_a_total_that_is_not_known_leaves_what_is_known(self) -> None:
        found = breakdown(event(("device_total_bytes", "device_free_bytes")))
        assert parts(found) == {"live": 400, "slack": 100, "unattributed": 300}
        assert found is not None
        assert found.total_bytes is None

    @pytest.mark.parametrize(
        "measured",
        [
            {"process_used_bytes": 499},  # read before the allocator grew
            {"process_used_bytes": 900},  # more than is in use
            {"process_used_bytes": True, "device_reserved_bytes": -1, "other_processes_bytes": "5"},
        ],
    )
    def test_figures_that_do_not_fit_together_are_not_used(self, measured: dict[str, Any]) -> None:
        assert parts(breakdown(event(metadata=measured))) == parts(breakdown(event()))

    def test_others_that_do_not_fit_in_are_not_told_apart(self) -> None:
        found = breakdown(event(metadata={**MEASURED, "other_processes_bytes": 260}))
        assert parts(found) == {
            "live": 400,
            "slack": 100,
            "process_outside": 60,
            "driver": 20,
            "unattributed": 220,
            "free": 200,
        }

    def test_an_allocator_that_has_grown_since_takes_from_what_was_free(self) -> None:
        found = breakdown(event(allocator_reserved_bytes=900))
        assert parts(found) == {"live": 400, "slack": 500, "unattributed": 0, "free": 100}

    def test_more_than_there_is_says_nothing(self) -> None:
        """Managed memory moves to the host."""
        assert breakdown(event(allocator_reserved_bytes=1001)) is None

    def test_an_event_that_knows_nothing_says_nothing(self) -> None:
        assert breakdown({}) is None
        assert breakdown({"metadata": None, "device_id": "x", "device_used_bytes": 1.5}) is None


class TestHost:
    def host(self, *, free: int = 200, **metadata: int) -> Breakdown | None:
        return breakdown(
            event(
                metadata={"backend": "cpu", **metadata},
                device_id=-1,
                device_free_bytes=free,
                allocator_allocated_bytes=300,
                allocator_reserved_bytes=300,
            )
        )

    def test_without_children(self) -> None:
        found = self.host(children=0)
        assert parts(found) == {"process": 300, "unattributed": 500, "free": 200}
        assert rest(found) == "unattributed (other processes, system)"

    def test_children_count_with_what_they_do_not_share(self) -> None:
        found = self.host(children=2, proportional_bytes=200, children_proportional_bytes=160)
        assert parts(found) == {"process": 300, "children": 60, "unattributed": 440, "free": 200}

    def test_resident_sets_of_children_are_not_added_up(self) -> None:
        """Each has the pages in it that it shares with this process."""
        found = self.host(children=2, children_resident_bytes=400)
        assert parts(found) == {"process": 300, "unattributed": 500, "free": 200}
        assert rest(found) == "unattributed (other processes, its children)"

    def test_a_container_that_is_all_this_process_is_divided_although_libraries_are_charged_elsewhere(self) -> None:
        """At the end of a process that the kernel killed its resident set was 704 MiB, in a group of 700."""
        found = breakdown(
            event(
                metadata={"backend": "cpu", "children": 0},
                device_id=-1,
                device_used_bytes=971,
                device_free_bytes=29,
                device_total_bytes=1000,
                allocator_allocated_bytes=1004,
                allocator_reserved_bytes=1004,
            )
        )
        assert parts(found) == {"process": 1000, "unattributed": 0, "free": 0}

    def test_what_a_container_may_use_and_the_machine_has_not(self) -> None:
        found = self.host(children=0, free=50)
        assert parts(found) == {"process": 300, "unattributed": 650, "free": 50}
        assert rest(found) == "unattributed (other processes, system, out of reach)"


SIZES = st.integers(0, 1200)
UNKNOWN = st.sets(st.sampled_from(sorted(CUDA)))
RARE = ("device_reserved_bytes", "process_used_bytes", "other_processes_bytes", "children", "proportional_bytes")


@given(
    figures=st.fixed_dictionaries(dict.fromkeys(CUDA, SIZES)),
    unknown=UNKNOWN,
    measured=st.dictionaries(st.sampled_from((*RARE, "children_proportional_bytes")), SIZES),
    host=st.booleans(),
)
def test_whatever_the_figures_the_parts_are_the_whole(
    figures: dict[str, int], unknown: set[str], measured: dict[str, int], host: bool
) -> None:
    metadata = {**measured, **({"backend": "cpu"} if host else {})}
    found = breakdown(event(tuple(unknown), metadata, device_id=-1 if host else 0, **figures))
    if found is None:
        return
    assert all(part.size_bytes >= 0 and part.name in LABELS for part in found.parts)
    assert len(parts(found)) == len(found.parts)
    if "device_total_bytes" not in unknown:
        assert found.total_bytes == figures["device_total_bytes"]
        assert sum(part.size_bytes for part in found.parts) == found.total_bytes
    assert json.loads(json.dumps(asdict(found)))["total_bytes"] == found.total_bytes


class TestDevices:
    def test_the_sample_that_tells_most_is_taken_while_it_is_fresh(self) -> None:
        made, devices = MadeSession(), Devices()
        devices.see(made.event("sample", metadata=MEASURED, **CUDA))
        for seconds, told in ((1, True), (10, True), (11, False)):
            made.now_ns = made.events[0]["timestamp_ns"] + seconds * 10**9
            devices.see(made.event("sample", **CUDA))
            (row,) = devices.rows()
            assert ("process_outside" in parts(row.breakdown)) is told

    def test_not_if_what_is_allocated_has_moved_since(self) -> None:
        """As in a leak: what holds the memory would be shown by less than the line above it says."""
        made, devices = MadeSession(), Devices()
        devices.see(made.event("sample", metadata=MEASURED, **CUDA))
        grown = {**CUDA, "allocator_allocated_bytes": int(CUDA["allocator_allocated_bytes"] * 1.2)}
        devices.see(made.event("sample", **grown))
        [row] = devices.rows()
        assert row.breakdown == breakdown(made.events[-1])

    @pytest.mark.parametrize(
        ("measured", "children"),
        [({"children": 0}, None), ({"children": 2, "proportional_bytes": 200, "children_proportional_bytes": 160}, 60)],
    )
    def test_the_hosts_children_stay_known_while_its_memory_moves(
        self, measured: dict[str, int], children: int | None
    ) -> None:
        made, devices = MadeSession(), Devices()
        host: dict[str, Any] = {**CUDA, "allocator_allocated_bytes": 300, "allocator_reserved_bytes": 300}
        devices.see(made.event("sample", metadata={"backend": "cpu", **measured}, device_id=-1, **host))
        host["allocator_allocated_bytes"] = host["allocator_reserved_bytes"] = 400
        for seconds, known in ((1, True), (20, False)):
            made.now_ns = made.events[0]["timestamp_ns"] + seconds * 10**9
            devices.see(made.event("sample", metadata={"backend": "cpu"}, device_id=-1, **host))
            [row] = devices.rows()
            assert parts(row.breakdown)["process"] == 400
            assert parts(row.breakdown).get("children") == (children if known else None)
            assert ("its children" in rest(row.breakdown)) is not known

    def test_the_hosts_parts_add_up_to_what_is_shown_as_used_when_only_others_have_moved(self) -> None:
        made, devices = MadeSession(), Devices()
        host: dict[str, Any] = {**CUDA, "allocator_allocated_bytes": 300, "allocator_reserved_bytes": 300}
        devices.see(made.event("sample", metadata={"backend": "cpu", "children": 0}, device_id=-1, **host))
        host |= {"device_used_bytes": 900, "device_free_bytes": 100}
        devices.see(made.event("sample", metadata={"backend": "cpu"}, device_id=-1, **host))
        [row] = devices.rows()
        assert row.used_bytes == 900
        assert parts(row.breakdown) == {"process": 300, "unattributed": 600, "free": 100}
        assert rest(row.breakdown) == "unattributed (other processes, system)"

    def test_before_the_first_sample_any_event_will_do(self) -> None:
        devices = Devices()
        devices.see(MadeSession().event("phase_enter", **CUDA))
        (row,) = devices.rows()
        assert parts(row.breakdown)["slack"] == 100


def test_the_summary_says_who_holds_what() -> None:
    made = MadeSession()
    made.event("sample", metadata=MEASURED, **{key: size * MIB for key, size in CUDA.items()})
    made.events[0]["metadata"].update({key: size * MIB for key, size in MEASURED.items()})
    summary = summarize(made.events)
    text = " ".join(str(summary).split())
    assert "cuda:0 of 1000 MiB: live tensors 400 MiB, allocator slack 100 MiB (30.0 MiB of it fragmented)," in text
    assert "this process outside its allocator 60.0 MiB, other processes 210 MiB, driver 20.0 MiB," in text
    told = summary.to_dict()["devices"][0]["breakdown"]
    assert json.loads(json.dumps(told))["parts"][0] == {"name": "live", "size_bytes": 400 * MIB, "may_hold": []}


def test_a_device_of_which_nothing_is_known_has_no_line() -> None:
    assert list(holders([("cuda:0", None), ("cuda:1", Breakdown(None, None, ()))], 80)) == []
