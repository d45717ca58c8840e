"""Points as MLflow's metrics, by its client: in the run that the training is in, or in one of the session's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import mlflow
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from phasescope.exporters.tracker_log import QUEUE_LIMIT, about, now_ms, title_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.exporters.tracker_points import TrackerPoint

DEFAULT_EXPERIMENT = "phasescope"

_MOST_METRICS = 1000  # the server's limit of one request


class Mlflow:
    """A tracking server or store: `where`, else the one that MLflow's own settings name."""

    def __init__(self, where: str, *, inside: bool = False) -> None:
        active = mlflow.active_run() if inside else None  # of the thread that calls `start`
        self._active_id = None if active is None else active.info.run_id
        uri = where or mlflow.get_tracking_uri()
        self._client = MlflowClient(tracking_uri=uri)
        self.shown = f"logging to MLflow at {_shown(uri)}"

    def begin(self, constants: Mapping[str, Any]) -> MlflowRun:
        """Begin the session's run."""
        if self._active_id is not None:
            return MlflowRun(self._client, self._active_id, is_own=False)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        run = self._client.create_run(experiment_id, run_name=title_of(constants), tags=about(constants))
        return MlflowRun(self._client, run.info.run_id, is_own=True)


class MlflowRun:
    """One run. One that is not the session's own is not ended."""

    at_once = QUEUE_LIMIT

    def __init__(self, client: MlflowClient, run_id: str, *, is_own: bool) -> None:
        self._client = client
        self._run_id = run_id
        self._is_own = is_own

    def log(self, points: list[TrackerPoint]) -> None:
        """Send the points, many at a time."""
        metrics = [
            Metric(key, value, point.timestamp_ns // 1_000_000, point.step)
            for point in points
            for key, value in point.values.items()
        ]
        for first in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self._run_id, metrics=metrics[first : first + _MOST_METRICS])

    def finish(self, summary: str, report: str) -> None:
        """Store both as artifacts."""
        self._client.log_text(self._run_id, summary + "\n", "phasescope/summary.txt")
        if report:
            self._client.log_text(self._run_id, report, "phasescope/report.html")
        if self._is_own:
            self._client.set_terminated(self._run_id, end_time=now_ms())


def _shown(uri: str) -> str:
    """Return the address without user, password and query."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
