"""Memory that this process takes on a device beside its allocator, by phase, from samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.analysis.diagnosis.evidence import evidence
from phasescope.analysis.diagnosis.explanation import explain
from phasescope.analysis.summary.summary import summarize
from support.events import MIB, MadeSession

if TYPE_CHECKING:
    from collections.abc import Sequence

GIB = 1 << 30

Sample = tuple[int, int, "int | None", str]
"""Reserved, used, of this process, and the phase."""


def session(samples: Sequence[Sample], **metadata: Any) -> MadeSession:
    made = MadeSession()
    for reserved, used, own, path in samples:
        scope = {"phase_scope": {"path": path.split("/")}} if path else {}
        told = {} if own is None else {"process_used_bytes": own}
        made.event(
            "sample",
            allocator_allocated_bytes=reserved,
            allocator_reserved_bytes=reserved,
            device_used_bytes=used,
            device_total_bytes=80 * GIB,
            metadata={**scope, **told, **metadata},
        )
    return made


def rises(samples: Sequence[Sample], **metadata: Any) -> dict[str, int]:
    summary = summarize(session(samples, **metadata).events)
    return {"/".join(row.path): row.outside_rise_bytes for row in summary.rows if row.outside_rise_bytes}


NCCL: list[Sample] = [
    (GIB, 2 * GIB, 2 * GIB, "setup"),
    (GIB, 2 * GIB, None, "setup"),
    (GIB, 4 * GIB, None, "setup/join"),
    (GIB, 4 * GIB, None, "step"),
    (GIB, 4 * GIB, 4 * GIB, "step"),
]


def test_a_jump_is_of_the_phase_around_the_samples_before_and_after_it() -> None:
    assert rises(NCCL) == {"setup": 2 * GIB}


def test_it_is_shown() -> None:
    made = session(NCCL)
    line = "memory outside the allocator (libraries, buffers): +2.00 GiB in setup"
    assert line in str(summarize(made.events))
    assert line in explain(evidence(made.events, "running")).phases


def test_what_the_driver_tells_at_once_counts_once_it_is_confirmed() -> None:
    samples: list[Sample] = [(GIB, 2 * GIB, 2 * GIB, "a"), (GIB, 4 * GIB, 4 * GIB, "a"), (GIB, 4 * GIB, None, "a")]
    assert rises(samples) == {"a": 2 * GIB}


def test_another_processes_memory_is_not_this_ones() -> None:
    samples = [(*sample[:2], None if sample[2] is None else 2 * GIB, sample[3]) for sample in NCCL]
    assert rises(samples) == {}


def test_if_the_driver_never_tells_nothing_is_said() -> None:
    assert rises([(*sample[:2], None, sample[3]) for sample in NCCL]) == {}


def test_figures_that_were_read_one_after_the_other_make_no_jump() -> None:
    """The allocator takes and gives back a gibibyte between the two readings of a sample."""
    used = [gib * GIB for gib in (3, 4, 3, 2, 3, 3, 4, 2, 3)]
    samples: list[Sample] = [(2 * GIB, size, size, "step") for size in used]
    assert rises(samples) == {}


def test_what_rises_slowly_or_within_the_allocator_is_no_jump() -> None:
    slowly: list[Sample] = [(GIB, 2 * GIB + n * 20 * MIB, 2 * GIB + n * 20 * MIB, "step") for n in range(40)]
    assert rises(slowly) == {}
    within: list[Sample] = [(n * GIB, (n + 1) * GIB, (n + 1) * GIB, "step") for n in range(9)]
    assert rises(within) == {}


def test_a_device_in_the_hosts_memory_has_no_outside() -> None:
    assert rises(NCCL, shares_host_memory=1) == {}


def test_after_it_was_given_back_a_second_jump_counts_again() -> None:
    back: list[Sample] = [(GIB, 2 * GIB, 2 * GIB, "step"), (GIB, 2 * GIB, 2 * GIB, "setup")]
    assert rises([*NCCL, *back, *NCCL]) == {"setup": 4 * GIB}
