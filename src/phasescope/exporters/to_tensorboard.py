"""Points as TensorBoard's scalars, by its own writer of records and its own messages; TensorFlow is not imported."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

from phasescope.exporters.tracker_log import QUEUE_LIMIT, now_ms
from phasescope.exporters.tracker_points import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.exporters.tracker_points import TrackerPoint

DEFAULT_DIRECTORY = "runs"


class TensorBoard:
    """A directory of runs."""

    def __init__(self, where: str, *, inside: bool = False) -> None:
        self._directory = Path(where or DEFAULT_DIRECTORY)
        self.shown = f"writing to {self._directory}"

    def begin(self, constants: Mapping[str, Any]) -> TensorBoardRun:
        """Begin the file of a session, in a directory of its own."""
        host = re.sub(r"[^A-Za-z0-9_-]", "_", str(constants.get("host")))[:64]
        name = f"phasescope-{host}-{constants.get('pid')}-{str(constants.get('session_id'))[:8]}"
        return TensorBoardRun(self._directory / re.sub(r"[^A-Za-z0-9_-]", "_", name))


class TensorBoardRun:
    """One file of events."""

    at_once = QUEUE_LIMIT

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._file = (directory / f"events.out.tfevents.{now_ms() // 1000}.phasescope").open("ab")
        self._writer = RecordWriter(self._file)
        self._step = 0
        self._write(Event(wall_time=now_ms() / 1000, file_version="brain.Event:2"))

    def log(self, points: list[TrackerPoint]) -> None:
        """Write the points as scalars."""
        for point in points:
            values = [Summary.Value(tag=key, simple_value=value) for key, value in point.values.items()]
            self._step = point.step
            self._write(Event(wall_time=point.timestamp_ns / 1e9, step=point.step, summary=Summary(value=values)))
        self._file.flush()

    def finish(self, summary: str, report: str) -> None:
        """Write the table as a text, and both as files beside."""
        text = "\n".join(f"    {line}" for line in summary.splitlines())
        tensor = TensorProto(dtype=DT_STRING, tensor_shape=TensorShapeProto(), string_val=[text.encode()])
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        value = Summary.Value(tag=f"{PREFIX}/summary", tensor=tensor, metadata=metadata)
        self._write(Event(wall_time=now_ms() / 1000, step=self._step, summary=Summary(value=[value])))
        (self._directory / "phasescope-summary.txt").write_text(summary + "\n", encoding="utf-8")
        if report:
            (self._directory / "phasescope-report.html").write_text(report, encoding="utf-8")
        self._file.close()

    def _write(self, event: Event) -> None:
        self._writer.write(event.SerializeToString())
        self._file.flush()
