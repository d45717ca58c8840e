"""A small program as a user writes it, over every public name: checked by type checkers, and run, against the wheel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import phasescope
from phasescope import phase, start, stop, track
from phasescope.backends.protocol import (
    HOST_DEVICE,
    AllocatorCounters,
    Backend,
    DeviceCounters,
    DeviceIdentity,
    Unavailable,
)
from phasescope.testing import FakeBackend, FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import assert_type
else:

    def assert_type(value: Any, _type: Any) -> Any:
        return value


class Acme:
    """A backend of one's own."""

    name = "acme"
    unavailable: tuple[str, ...] = ("allocator_active_bytes", "allocator_inactive_bytes")

    def why_not(self) -> Unavailable | None:
        return None

    def ready(self) -> bool:
        return True

    def devices(self) -> Sequence[int]:
        return [0]

    def current_device(self) -> int:
        return 0

    def allocator(self, device: int) -> AllocatorCounters:
        return 100 + device, 200, None, None

    def device(self, device: int) -> DeviceCounters:
        return DeviceCounters(used_bytes=300, total_bytes=1000 + device)

    def identity(self, device: int) -> DeviceIdentity | None:
        return None


@phase("forward")
def forward(batch: int) -> float:
    return batch / 2


@phase("generated", kind="numbers")
def generated() -> Iterator[int]:
    yield from range(3)


def trained(backend: Backend) -> phasescope.Session:
    session = start(backends=[backend, FakeBackend(allocated=1)], clock=FakeClock(), rank=0, world_size=1)
    subscription = session.subscribe(lambda record: sys.stdout.write(f"{record.event_type}\n"))
    with session:
        with phase("epoch", n=1) as scope:
            assert_type(scope, phase)
            for batch in track([1, 2, 3], name="data"):
                assert_type(forward(batch), float)
        assert_type(list(generated()), list[int])
        assert_type(phasescope.current(), phasescope.Session | None)
    assert_type(subscription, phasescope.Subscription)
    assert_type(subscription.missed + subscription.errors, int)
    assert subscription.join(timeout_s=60)
    return session


def summed_up(session: phasescope.Session) -> None:
    summary = session.summary()
    assert_type(summary, phasescope.Summary)
    for row in summary.rows:
        assert_type(row, phasescope.Row)
        assert_type(row.peak_allocated_bytes, int | None)
    for device in summary.devices:
        assert_type(device, phasescope.DeviceRow)
        assert_type(device.breakdown, phasescope.Breakdown | None)
        for part in device.breakdown.parts if device.breakdown else ():
            assert_type(part, phasescope.Part)
            assert_type(part.size_bytes, int)
        assert_type(device.categories, phasescope.Categories | None)
        for category in device.categories.parts if device.categories else ():
            assert_type(category, phasescope.Category)
        for module in device.categories.modules if device.categories else ():
            assert_type(module, phasescope.ModulePart)
    assert "epoch" in str(summary)
    assert [row.path for row in summary.rows if row.count == 3] == [("epoch", "data"), ("epoch", "forward")]


def drawn(reader: phasescope.Reader) -> None:
    timeline = reader.timeline()
    assert_type(timeline, phasescope.Timeline)
    assert_type(timeline.bands(), list[phasescope.Band])
    assert_type(timeline.strips(), list[phasescope.Strip])
    for mark in timeline.marks:
        assert_type(mark, phasescope.Mark)
    for device in timeline.devices:
        assert_type(device, phasescope.DeviceLine)
        assert_type(device.peak, phasescope.Peak | None)
        for point in timeline.points(device):
            assert_type(point, phasescope.Point)
            assert_type(point.allocated_bytes, phasescope.Range)
            assert_type(point.allocated_bytes.max, int | None)
    assert {device.device_id for device in timeline.devices} == {0, HOST_DEVICE}


def followed(reader: phasescope.Reader) -> phasescope.Ending:
    view = phasescope.SessionView()
    view.feed(reader.unread())
    ending = view.ending(reader.state, heartbeat_ns=reader.heartbeat_ns)
    assert_type(ending, phasescope.Ending)
    for scope in ending.open_phases:
        assert_type(scope, phasescope.OpenPhase)
    for problem in reader.problems:
        assert_type(problem, phasescope.Problem)
    assert_type(view.summary(reader.missed, reader.damaged), phasescope.Summary)
    return ending


def explained(explanation: phasescope.Explanation) -> list[str]:
    assert_type(explanation.cause, phasescope.Cause)
    return [explanation.verdict, explanation.cause.text, explanation.happened, *explanation.advice]


def enveloped(reader: phasescope.Reader) -> None:
    records = reader.records(last=5)
    for event in reader.events():
        phasescope.validate_event(event)
        assert_type(phasescope.project_telemetry_mapping(event), phasescope.ProjectedTelemetryRecord)
    for record in records:
        assert record.schema_version == phasescope.TELEMETRY_PROJECTION_SCHEMA_VERSION
        assert_type(phasescope.projected_record_to_dict(record), dict[str, Any])
    assert phasescope.unique_projected_resources(records)
    assert phasescope.unique_projected_correlations(records)


def refused() -> None:
    try:
        phasescope.attach("no-such-session")
    except phasescope.SessionNotFoundError as error:
        assert_type(error, phasescope.SessionNotFoundError)
    try:
        start(backends=["jax"])
    except phasescope.BackendUnavailableError as error:
        assert_type(error, phasescope.BackendUnavailableError)
    try:
        phasescope.validate_event({})
    except phasescope.InvalidEventError as error:
        assert_type(error.field, str)
    stop()
    assert issubclass(phasescope.RingError, ValueError)
    assert issubclass(phasescope.PhasescopeWarning, UserWarning)


def instrumented(model: Any, optimizer: Any, loader: list[Any]) -> None:
    """Mark a loop of PyTorch's; needs torch."""
    from phasescope.integrations.torch import Instrumented, instrument

    with start(), instrument(model, optimizer, loader, depth=1) as marked:
        assert_type(marked, Instrumented)
        for batch in marked.loader:
            model(batch)


def told_of_pytrees(parameters: Any, state: Any, batch: Any) -> None:
    """Say what the arrays of a JAX training are; needs JAX."""
    from phasescope.integrations.jax import note_pytrees

    note_pytrees(parameters=parameters, optimizer_state=state, inputs=batch, buffers=None, gradients=None)


def callbacks() -> list[phasescope.Session | None]:
    """Make the callbacks; needs their frameworks."""
    from phasescope.integrations.keras import PhaseCallback as ForKeras
    from phasescope.integrations.lightning import PhaseCallback as ForLightning
    from phasescope.integrations.transformers import PhaseCallback as ForTransformers

    return [ForKeras().session, ForLightning(log_every_n_batches=10).session, ForTransformers(log_figures=True).session]


def main() -> None:
    session = trained(Acme())
    summed_up(session)
    with session.reader() as reader:
        assert_type(reader, phasescope.Reader)
        drawn(reader)
        enveloped(reader)
        assert followed(reader).is_good
        assert_type(reader.ending(), phasescope.Ending)
        assert explained(reader.explain())
    with phasescope.attach(Path(session.path or "")) as reader:
        assert_type(reader.latest(), dict[str, Any] | None)
        assert reader.written == session.written
    refused()
    sys.stdout.write(f"{phasescope.__version__}\n")


if __name__ == "__main__":
    main()
