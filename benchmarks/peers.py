"""The peers as the benchmarks use them: their public names, each as its own documentation sets it up.

Where an option would make a peer look worse than it need be, the better one is taken; docs/benchmarks.md says which.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.measure import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.training_step import Training

PACKAGES = ("phasescope", "stormlog", "traceml-ai", "opentelemetry-sdk", "torch", "msgspec", "psutil")


def versions() -> dict[str, str]:
    """Return the versions of the packages that are measured or measured with."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


class FreeCollector:
    """A Stormlog collector whose counters cost nothing: constants, made once, and given without a line of Python."""

    def __init__(self) -> None:
        from stormlog import DeviceMemoryCapabilities, DeviceMemorySample
        from stormlog.device_collectors import DeviceMemorySampleResult

        self._capabilities = DeviceMemoryCapabilities(
            backend="cuda",
            telemetry_collector="stormlog.cuda_tracker",
            sampling_source="constant",
            supports_allocator_allocated=True,
            supports_allocator_reserved=True,
            supports_allocator_active=True,
            supports_allocator_inactive=True,
            supports_device_used=True,
            supports_device_free=True,
            supports_device_total=True,
        )
        sample = DeviceMemorySample(2**28, 2**29, 2**29, 2**30, 3 * 2**29, 2**28, 0, 0)
        self.sample = itertools.repeat(sample).__next__
        self.sample_with_diagnostics = itertools.repeat(DeviceMemorySampleResult(sample=sample)).__next__

    def name(self) -> str:
        return "cuda"

    def is_available(self) -> bool:
        return True

    def capabilities(self) -> Any:
        return self._capabilities


@contextlib.contextmanager
def stormlog(tracker: str, *, sink: bool) -> Iterator[dict[str, Any]]:
    """Run a Stormlog tracker, `free` or `cpu`, that samples every 100 ms; with its sink, as JSONL files."""
    import stormlog as package
    from stormlog.telemetry_sink import TelemetrySinkConfig

    with scratch_directory() as directory:
        # The roll-ups are written when it closes, which is not timed: without them the bench is quicker.
        config = TelemetrySinkConfig(root_dir=directory, write_rollups=False) if sink else None
        if tracker == "free":
            made = package.MemoryTracker(collector=FreeCollector(), sampling_interval=0.1, telemetry_sink_config=config)
        else:
            made = package.CPUMemoryTracker(sampling_interval=0.1, telemetry_sink_config=config)
        made.start_tracking()
        try:
            yield {"tracker": made, "directory": directory}
        finally:
            made.stop_tracking()


@contextlib.contextmanager
def opentelemetry_span() -> Iterator[dict[str, Any]]:
    """Make a tracer of the SDK that records every span and exports none: an exporter would only add to it."""
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    try:
        yield {"tracer": provider.get_tracer("benchmarks")}
    finally:
        provider.shutdown()


@contextlib.contextmanager
def opentelemetry_nothing() -> Iterator[dict[str, Any]]:
    """Make the tracer that an instrumented library gets if no SDK was set up."""
    from opentelemetry.trace import NoOpTracer

    yield {"tracer": NoOpTracer()}


@contextlib.contextmanager
def traceml_run(mode: str = "auto", **options: Any) -> Iterator[Any]:
    """Initialise TraceML as its README says, its aggregator running beside it, and yield its module.

    It patches torch and takes one configuration for the life of a process: call it in a process of its own.
    """
    import traceml_ai

    port = _free_port()
    with scratch_directory() as directory:
        serve = [sys.executable, "-m", "traceml_ai.launcher.cli", "serve", "--run-name", "bench"]
        serve += ["--aggregator-port", str(port), "--logs-dir", directory]
        aggregator = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            traceml_ai.init(
                mode=mode,
                aggregator_port=port,
                logs_dir=directory,
                session_id="bench",
                connect_timeout_sec=30.0,
                on_missing_aggregator="raise",
                **options,
            )
            yield traceml_ai
        finally:
            _end(aggregator)


def traceml_step(traceml: Any, training: Training) -> Callable[[], None]:
    """Return a step of the training inside TraceML's `trace_step`."""

    def step() -> None:
        with traceml.trace_step(training.model):
            training.step()

    return step


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
        process.wait()
