"""A Stormlog records a session of two phases of its own, into its sink and as an export."""

from __future__ import annotations

import sys
import time

sys.modules["torch"] = None  # type: ignore[assignment]  # not needed, and slow to import

from stormlog.cpu_profiler import CPUMemoryTracker  # noqa: E402
from stormlog.telemetry_sink import TelemetrySinkConfig  # noqa: E402

folder = sys.argv[1]
tracker = CPUMemoryTracker(sampling_interval=0.01, telemetry_sink_config=TelemetrySinkConfig(root_dir=f"{folder}/sink"))
tracker.start_tracking()
with tracker.phase("epoch"):
    with tracker.phase("step"):
        time.sleep(0.05)
tracker.stop_tracking()
tracker.export_events(f"{folder}/export.json", format="json")
