"""What a session has only if its options ask for it: sites, a census, a recording, an exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope import _log, _native

if TYPE_CHECKING:
    from phasescope.capture.census.census import Census
    from phasescope.capture.event_writer import EventWriter
    from phasescope.capture.options import Options
    from phasescope.capture.ring_handle import RingHandle
    from phasescope.capture.sites import Sites
    from phasescope.exporters.inside import ExporterInside
    from phasescope.recordings.recorder import RecorderThread

_RECORDING_SECONDS = 5.0
_WITH_SITES_ONE_PART_IN = 50
"""Of the run's time for the census: all of Python is slower then, and whoever asks for lines wants them."""


class OptionalParts:
    """Those of one session; each is None if it was not asked for. Their modules are imported only if it was."""

    def __init__(self, options: Options) -> None:
        """Load all modules, before the session opens a file: the process may have few descriptors left."""
        self._options = options
        if options.census or options.sites:
            import phasescope.capture.census.census
        if options.record is not None:
            import phasescope.recordings.recorder
        if options.export is not None:
            import phasescope.exporters.inside  # noqa: F401
        self.sites = _sites() if options.sites else None
        self.census: Census | None = None
        self.exporter: ExporterInside | None = None
        self.recording: RecorderThread | None = None

    def count_objects(self, writer: EventWriter) -> None:
        """Make the census."""
        self.census = _census(writer, self._options)

    def open(self, ring: RingHandle, writer: EventWriter, constants: dict[str, Any], local_rank: int) -> None:
        """Make the exporter and the recording, which read the session's ring. They warn where `start()` was called."""
        if self._options.export is not None:
            from phasescope.exporters.inside import ExporterInside

            self.exporter = ExporterInside(self._options.export, lambda: ring.open_reader(writer.beat), local_rank)
        if self._options.record is not None:
            from phasescope.recordings.recorder import RecorderThread, recorder_inside

            path, most = self._options.record, self._options.record_bytes
            recorder = recorder_inside(lambda: ring.open_reader(writer.beat), path, constants, most)
            self.recording = RecorderThread(recorder)

    def discard(self) -> None:
        """Take away what there is of a session that never began."""
        if self.sites is not None:
            self.sites.end()
        if self.exporter is not None:
            self.exporter.discard()

    def start(self) -> None:
        """Start the threads."""
        if self.recording is not None:
            self.recording.start()
        if self.exporter is not None:
            self.exporter.start()

    def finish(self) -> None:
        """Wait until what was written is recorded and exported, for some seconds at most."""
        if self.recording is not None:
            self.recording.finish(_RECORDING_SECONDS)
        if self.exporter is not None:
            self.exporter.finish()

    def abandon_in_child(self) -> None:
        """In a forked child, let go of all that is the parent's."""
        if self.sites is not None:
            self.sites.abandon_in_child()
        if self.recording is not None:
            self.recording.recorder.abandon_in_child()
        if self.exporter is not None:
            self.exporter.abandon_in_child()


def _sites() -> Sites:
    from phasescope.capture.sites import Sites

    return Sites()


def _census(writer: EventWriter, options: Options) -> Census | None:
    if not options.census and not options.sites:
        return None
    from phasescope.capture.census.census import Census, can_count

    if not can_count():
        _log.log_once("no census", "no census of the objects: it needs the compiled core (%s)", _native.why_not)
        return None
    return Census(writer, one_part_in=_WITH_SITES_ONE_PART_IN if options.sites else None)
