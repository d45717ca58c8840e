"""Counters and histograms as what was added since the last delivery, for engines that take no sums since the start."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE
from opentelemetry.sdk.metrics.export import AggregationTemporality, Histogram, HistogramDataPoint, Sum

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from opentelemetry.sdk.metrics.export import Metric, NumberDataPoint, ResourceMetrics

    Point: TypeAlias = NumberDataPoint | HistogramDataPoint
    Series: TypeAlias = tuple[str, frozenset[tuple[str, Any]]]

_PREFERENCES = ("delta", "lowmemory")


def are_preferred() -> bool:
    """Return whether the environment asks for them, by the SDK's own variable."""
    return os.environ.get(OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE, "").strip().lower() in _PREFERENCES


class Deltas:
    """Makes them of cumulative metrics, by what of each series was delivered last. A collector that is away loses none:
    what it did not get is in the next."""

    def __init__(self) -> None:
        self._delivered: dict[object, dict[Series, Point]] = {}

    def of(self, batch: Iterable[ResourceMetrics]) -> list[ResourceMetrics]:
        """Return the batch with what was added since."""
        return [self._of_resource(each) for each in batch]

    def note(self, batch: Iterable[ResourceMetrics]) -> None:
        """Note that a batch, as it was before `of`, was delivered."""
        for each in batch:
            delivered = self._delivered.setdefault(_id(each), {})
            for metric in _metrics(each):
                if _adds_up(metric):
                    delivered.update((_series(metric, point), point) for point in metric.data.data_points)

    def forget(self, ended: ResourceMetrics) -> None:
        """Let go of a session whose last figures were delivered, or never will be."""
        self._delivered.pop(_id(ended), None)

    def _of_resource(self, each: ResourceMetrics) -> ResourceMetrics:
        delivered = self._delivered.get(_id(each), {})
        scopes = [
            dataclasses.replace(scope, metrics=[_of_metric(metric, delivered) for metric in scope.metrics])
            for scope in each.scope_metrics
        ]
        return dataclasses.replace(each, scope_metrics=scopes)


def _of_metric(metric: Metric, delivered: dict[Series, Point]) -> Metric:
    if not _adds_up(metric):
        return metric
    points = [_since(point, delivered.get(_series(metric, point))) for point in metric.data.data_points]
    data: Any = dataclasses.replace(
        metric.data, data_points=points, aggregation_temporality=AggregationTemporality.DELTA
    )
    return dataclasses.replace(metric, data=data)


def _since(point: Any, before: Any) -> Any:
    """Return what a point has beyond the one before it. The least and the most since then are not known."""
    if before is None:
        return point
    if not isinstance(point, HistogramDataPoint):
        return dataclasses.replace(point, start_time_unix_nano=before.time_unix_nano, value=point.value - before.value)
    counts = [now - then for now, then in zip(point.bucket_counts, before.bucket_counts, strict=True)]
    return dataclasses.replace(
        point,
        start_time_unix_nano=before.time_unix_nano,
        count=point.count - before.count,
        sum=point.sum - before.sum,
        bucket_counts=counts,
        min=None,
        max=None,
    )


def _adds_up(metric: Metric) -> bool:
    data = metric.data
    return isinstance(data, Histogram) or (isinstance(data, Sum) and data.is_monotonic)


def _metrics(each: ResourceMetrics) -> Iterable[Metric]:
    return (metric for scope in each.scope_metrics for metric in scope.metrics)


def _series(metric: Metric, point: Any) -> Series:
    return metric.name, frozenset((point.attributes or {}).items())


def _id(each: ResourceMetrics) -> object:
    return each.resource.attributes.get("service.instance.id")
