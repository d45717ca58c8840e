"""Figures against figures that come another way: the allocator's, the driver's, the clock's."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import phasescope
from gpu_checks.rows import (
    MIB,
    Row,
    Setting,
    compared,
    detailed_sample,
    exit_of,
    holding_child,
    nvidia_smi,
    peak_of,
    rounded,
    wait_for,
    warm_up,
)
from phasescope import phase
from phasescope.analysis.breakdown import breakdown

if TYPE_CHECKING:
    from collections.abc import Iterator

    Event = dict[str, Any]


def untouched(_: Setting) -> Iterator[Row]:
    """torch is imported, a session runs, phases pass, the sampler has looked: CUDA is as it was."""
    import torch

    with phasescope.start(interval_ms=10) as session:
        for _step in range(100):
            with phase("step"):
                pass
        wait_for(session, lambda event: event["event_type"] == "sample" and event["device_id"] == -1)
        time.sleep(0.1)
        used = torch.cuda.is_initialized()
    yield Row("torch.cuda before the user touches it", str(used), "False", not used, "torch.cuda.is_initialized()")


def allocation(setting: Setting) -> Iterator[Row]:
    """Iterate over a tensor of a known size that is kept shows in its phase, and the counters are torch's own."""
    import torch

    warm_up(torch, setting.device)
    size = setting.size_bytes + 1  # not a multiple of the allocator's rounding
    with phasescope.start(backends=["cuda"]) as session:
        before = torch.cuda.memory_allocated(setting.device)
        with phase("kept"):
            kept = torch.empty(size, dtype=torch.uint8, device=f"cuda:{setting.device}")
        stats = torch.cuda.memory_stats(setting.device)
        after = torch.cuda.memory_allocated(setting.device)
        leave = exit_of(session, "kept")
        del kept
    delta = leave["metadata"]["phase_scope"]["allocated_delta_bytes"]
    yield compared("a kept tensor, in its phase's delta", delta, rounded(size), note="its size, rounded to 512 B")
    yield compared("the same, against memory_allocated()", delta, after - before)
    for ours, theirs in (
        ("allocated", "allocated_bytes"),
        ("reserved", "reserved_bytes"),
        ("active", "active_bytes"),
        ("inactive", "inactive_split_bytes"),
    ):
        independent = stats[f"{theirs}.all.current"]
        yield compared(f"{ours}, against memory_stats()", leave[f"allocator_{ours}_bytes"] or 0, independent)


def peaks(setting: Setting) -> Iterator[Row]:
    """Exact peaks of phases within phases, against the sum of what was held at once."""
    import torch

    warm_up(torch, setting.device)
    size = rounded(setting.size_bytes // 4)

    def hold(times: int) -> Any:
        return torch.empty(times * size, dtype=torch.uint8, device=f"cuda:{setting.device}")

    with phasescope.start(backends=["cuda"], peaks=True) as session:
        base = torch.cuda.memory_allocated(setting.device)
        with phase("outer"):
            kept = hold(1)
            with phase("inner"):
                hold(3)
            with phase("second"):
                hold(1)
        with phase("after"):
            pass
        found = {name: peak_of(exit_of(session, name)) for name in ("outer", "inner", "second", "after")}
        del kept
    for name, times in (("inner", 4), ("second", 2), ("outer", 4), ("after", 1)):
        yield compared(f"peak of the phase {name!r}", found[name], base + times * size, note="sum of what was held")


def device_memory(setting: Setting) -> Iterator[Row]:
    """Iterate over the device's memory, against nvidia-smi; and that the parts of the breakdown are the whole."""
    import torch

    warm_up(torch, setting.device)
    kept = torch.empty(setting.size_bytes, dtype=torch.uint8, device=f"cuda:{setting.device}")
    with phasescope.start(backends=["cuda"]) as session:
        sample = detailed_sample(session, setting.device)
        uuid = f"GPU-{torch.cuda.get_device_properties(setting.device).uuid}"
        smi = nvidia_smi("gpu", ("uuid", "memory.total", "memory.free"), uuid)
        listed = nvidia_smi("compute-apps", ("gpu_uuid", "pid", "used_memory"), uuid)
        del kept
    if not smi:
        yield Row("device memory, against nvidia-smi", "", "", None, "nvidia-smi does not answer for this device")
    else:
        total, free = (int(figure) * MIB for figure in smi[0][1:])
        yield compared("total, against nvidia-smi", sample["device_total_bytes"], total, MIB)
        yield compared("free, against nvidia-smi", sample["device_free_bytes"], free, 64 * MIB)
    yield held_by_this_process(sample, listed)
    found = breakdown(sample)
    whole = -1 if found is None else sum(part.size_bytes for part in found.parts)
    yield compared("sum of who holds what", whole, sample["device_total_bytes"])


def held_by_this_process(sample: Event, listed: list[list[str]]) -> Row:
    """Return what the driver counts for this process; in a container it may not say which one that is."""
    what = "this process, against nvidia-smi"
    measured = sample["metadata"].get("process_used_bytes")
    own = [int(used) * MIB for _, pid, used in listed if pid == str(os.getpid()) and used.isdecimal()]
    if measured is None:
        if own and len(listed) > 1:
            return Row(what, "unknown", f"{own[0]:,} B", False, "nvidia-smi lists this process")
        return Row(what, "unknown", "", None, "neither is told here which process is this one")
    if not own:
        return Row(what, f"{measured:,} B", "", None, "nvidia-smi does not list this process by its number")
    return compared(what, measured, own[0], 2 * MIB)


def two_processes(setting: Setting) -> Iterator[Row]:
    """Another process takes a known amount: the device's use grows by it, this process's does not."""
    import torch

    warm_up(torch, setting.device)
    with phasescope.start(backends=["cuda"]) as session:
        before = detailed_sample(session, setting.device)
        with holding_child(setting.device) as reserved:
            after = detailed_sample(session, setting.device)
    grown = after["device_used_bytes"] - before["device_used_bytes"]
    told = "its tensors and its context"
    yield Row("use of a device that two share", f"+{grown:,} B", f">= {reserved:,} B", grown >= reserved, told)
    own = [event["allocator_reserved_bytes"] for event in (before, after)]
    yield compared("this process's share meanwhile", own[1], own[0])
    others = [event["metadata"].get("other_processes_bytes") for event in (before, after)]
    what = "other processes, told apart"
    if None in others:
        yield Row(what, "unknown", f">= {reserved:,} B", None, "the driver does not say here which process is which")
    else:
        grown = others[1] - others[0]
        yield Row(what, f"+{grown:,} B", f">= {reserved:,} B", grown >= reserved, told)


def forked(setting: Setting) -> Iterator[Row]:
    """Iterate over a worker forked after CUDA was used: it lives, writes nothing into this session, and CUDA stays
    untouched."""
    import torch

    warm_up(torch, setting.device)
    with phasescope.start(backends=["cuda"]) as session, phase("parent"):
        pid = os.fork()
        if pid == 0:
            with phase("worker"):
                used = torch.cuda.is_initialized()
            os._exit(1 if used else 0)
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    yield Row("a forked worker ends well", f"exit code {code}", "exit code 0", code == 0, "1: it touched CUDA")
    names = {name for event in session.events() for name in event["metadata"].get("phase_scope", {}).get("path", ())}
    yield Row("phases in the parent's session", ", ".join(sorted(names)), "parent", names == {"parent"})


def out_of_memory(setting: Setting) -> Iterator[Row]:
    """More is asked for than there is: the exception is the user's own, and the phase says what happened."""
    import torch

    warm_up(torch, setting.device)
    asked = 4 * torch.cuda.get_device_properties(setting.device).total_memory
    raised: BaseException | None = None
    with phasescope.start(backends=["cuda"]) as session:
        try:
            with phase("too much"):
                torch.empty(asked, dtype=torch.uint8, device=f"cuda:{setting.device}")
        except RuntimeError as error:
            raised = error
        errors = [event for event in session.events() if event["event_type"] == "error"]
        leave = exit_of(session, "too much")
    kind = type(raised).__name__
    yield Row("what the training gets", kind, "OutOfMemoryError", kind == "OutOfMemoryError")
    paths = [event["metadata"]["phase_scope"]["path"] for event in errors]
    yield Row("error events, by phase", str(paths), "[['too much']]", paths == [["too much"]])
    status = leave["metadata"]["phase_scope"]["status"]
    yield Row("how the phase ended", status, "error", status == "error")
    measured = errors[0]["metadata"].get("requested_bytes", 0) if errors else 0
    yield compared("what was asked for", measured, asked, within=16 * MIB, note="as the exception's text rounds it")


def device_time(setting: Setting) -> Iterator[Row]:
    """Iterate over the device's time on a phase, measured without waiting, against the clock with waiting."""
    import torch

    warm_up(torch, setting.device)
    matrix = torch.rand(4096, 4096, device=f"cuda:{setting.device}")
    matrix @ matrix  # the first one also loads the library
    torch.cuda.synchronize(setting.device)
    independent = {}
    with phasescope.start(backends=["cuda"], device_time=True) as session:
        for name in ("first", "second", "third"):
            begin = time.perf_counter_ns()
            with phase(name):
                for _step in range(50):
                    matrix @ matrix
            torch.cuda.synchronize(setting.device)
            independent[name] = time.perf_counter_ns() - begin
    measured = {
        entry["path"][-1]: entry["duration_ns"]
        for event in session.events()
        for entry in event["metadata"].get("device_times", ())
    }
    what = "device time of a phase"
    if measured.keys() != independent.keys():
        yield Row(what, f"{len(measured)} of 3 phases", "", False, "no device_time event")
        return
    apart, name = min((abs(measured[name] / independent[name] - 1), name) for name in independent)
    texts = [f"{figures[name] / 1e6:.2f} ms" for figures in (measured, independent)]
    yield Row(what, texts[0], texts[1], apart <= 0.3, "to 30% of the time with synchronize(), best of three")


def tensorflow(setting: Setting) -> Iterator[Row]:
    """Iterate over a tensor of a known size in TensorFlow's allocator."""
    what = "a tensor of TensorFlow, in its phase's delta"
    try:
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
    except ImportError:
        devices = None
    if not devices:
        note = "TensorFlow is not installed" if devices is None else "this TensorFlow has no GPU"
        yield Row(what, "", "", None, note)
        return
    with tf.device("/GPU:0"):
        tf.zeros([1])
        with phasescope.start(backends=["tensorflow"]) as session:
            with phase("kept"):
                kept = tf.zeros([setting.size_bytes], tf.uint8)
            leave = exit_of(session, "kept")
            del kept
    delta = leave["metadata"]["phase_scope"].get("allocated_delta_bytes", -1)
    yield compared(what, delta, setting.size_bytes, within=MIB)


def jax(setting: Setting) -> Iterator[Row]:
    """Iterate over an array of a known size in JAX's allocator."""
    what = "an array of JAX, in its phase's delta"
    try:
        import jax as library
        import jax.numpy as jnp

        found = library.default_backend()
    except ImportError:
        found = ""
    if found != "gpu":
        yield Row(what, "", "", None, "this JAX has no GPU" if found else "JAX is not installed")
        return
    jnp.zeros(1).block_until_ready()
    with phasescope.start(backends=["jax"]) as session:
        with phase("kept"):
            kept = jnp.zeros(setting.size_bytes, jnp.uint8).block_until_ready()
        leave = exit_of(session, "kept")
        del kept
    delta = leave["metadata"]["phase_scope"].get("allocated_delta_bytes", -1)
    yield compared(what, delta, setting.size_bytes, within=MIB)
