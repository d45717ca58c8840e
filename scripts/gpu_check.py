"""Holds what phasescope measures on an NVIDIA device against figures that come another way, and prints the table.

    python scripts/gpu_check.py [--device 0] [--size-mib 200] [--only CHECK …] [--markdown]

Each check runs in a process of its own, so that what one initialises or breaks is not another's. Exit code 0: nothing
is off; 1: something is; 2: this machine can not be checked, and what is missing. See docs/gpu-check.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import phasescope
from phasescope import phase
from phasescope.analysis.breakdown import breakdown
from phasescope.backends.nvml import Nvml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Event = dict[str, Any]

MIB = 2**20
ROUNDING = 512
"""torch's allocator gives out memory in multiples of this, in bytes."""

CHILD_MIB = 512
OK, OFF, CAN_NOT = 0, 1, 2
_WAIT_S = 10.0
_CHECK_S = 300.0


class Row(NamedTuple):
    """One line of the table. `holds` None is: could not be compared here, for the reason in `note`."""

    what: str
    measured: str
    independent: str
    holds: bool | None
    note: str = ""


class Setting(NamedTuple):
    """What the command line gave."""

    device: int
    size_bytes: int
    budget_us: float


def compared(what: str, measured: int, independent: int, within: int = 0, note: str = "") -> Row:
    """A row about two sizes in bytes that may differ by so much."""
    allowed = f"to {within / MIB:,.0f} MiB" if within else "exactly"
    return Row(what, f"{measured:,} B", f"{independent:,} B", abs(measured - independent) <= within, note or allowed)


def rounded(size: int) -> int:
    """As torch's allocator rounds."""
    return -(-size // ROUNDING) * ROUNDING


# What runs in a process of its own


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
    """A tensor of a known size that is kept shows in its phase, and the counters are torch's own."""
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
    """The device's memory, against nvidia-smi; and that the parts of the breakdown are the whole."""
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
    """What the driver counts for this process; in a container it may not say which one that is."""
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


def cost(setting: Setting) -> Iterator[Row]:
    """What a phase costs at both its ends, with the device's counters read there."""
    import torch

    warm_up(torch, setting.device)
    rounds = []
    with phasescope.start(backends=["cuda"]):
        for _round in range(20):
            begin = time.perf_counter_ns()
            for _step in range(500):
                with phase("step"):
                    pass
            rounds.append((time.perf_counter_ns() - begin) / 500 / 1000)
    median = statistics.median(rounds)
    budget = f"<= {setting.budget_us:g} µs"
    yield Row("cost of a phase", f"{median:.1f} µs", budget, median <= setting.budget_us, "median of 20 rounds of 500")


def forked(setting: Setting) -> Iterator[Row]:
    """A worker forked after CUDA was used: it lives, writes nothing into this session, and CUDA stays untouched."""
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
    """The device's time on a phase, measured without waiting, against the clock with waiting."""
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
    yield Row(what, texts[0], texts[1], apart <= 0.2, "to 20% of the time with synchronize(), best of three")


def tensorflow(setting: Setting) -> Iterator[Row]:
    """A tensor of a known size in TensorFlow's allocator."""
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
    """An array of a known size in JAX's allocator."""
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


CHECKS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "untouched": untouched,
    "allocation": allocation,
    "peaks": peaks,
    "device_memory": device_memory,
    "two_processes": two_processes,
    "cost": cost,
    "forked": forked,
    "out_of_memory": out_of_memory,
    "device_time": device_time,
    "tensorflow": tensorflow,
    "jax": jax,
}


# What the checks are made of


def warm_up(torch: Any, device: int) -> None:
    """A context on the device, current in this thread, and a first block in the allocator."""
    torch.cuda.set_device(device)
    torch.empty(1, dtype=torch.uint8, device=f"cuda:{device}")


def exit_of(session: phasescope.Session, name: str) -> Event:
    """The exit of the phase with this name."""
    return wait_for(session, lambda event: event["event_type"] == "phase_exit" and path_of(event)[-1:] == [name])


def path_of(event: Event) -> list[str]:
    """Of the phase that an event speaks of."""
    path: list[str] = event["metadata"].get("phase_scope", {}).get("path", [])
    return path


def peak_of(event: Event) -> int:
    """The exact peak of a phase; -1 where the event has none, which is never right."""
    peak: int = event["metadata"]["phase_scope"].get("peak_allocated_bytes", -1)
    return peak


def detailed_sample(session: phasescope.Session, device: int) -> Event:
    """A sample of the device, taken from now on, with what the driver knows besides."""
    seen = len(session.events())
    deadline = time.monotonic() + 3  # a driver may know nothing besides: then any sample will do
    return wait_for(
        session,
        lambda event: (
            event["event_type"] == "sample"
            and event["device_id"] == device
            and ("device_reserved_bytes" in event["metadata"] or time.monotonic() > deadline)
        ),
        after=seen,
    )


def wait_for(session: phasescope.Session, wanted: Callable[[Event], bool], after: int = 0) -> Event:
    """The first such event after so many. Raises TimeoutError."""
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        for event in session.events()[after:]:
            if wanted(event):
                return event
        time.sleep(0.02)
    raise TimeoutError(f"no such event within {_WAIT_S:.0f} s")


class holding_child:  # noqa: N801
    """Another process that holds `CHILD_MIB` on the device; gives what its allocator reserved, in bytes."""

    def __init__(self, device: int) -> None:
        self._command = [sys.executable, __file__, "--hold", str(device)]

    def __enter__(self) -> int:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def __exit__(self, *_: object) -> None:
        self._process.communicate("\n", timeout=60)


def hold(device: int) -> None:
    """What that process does."""
    import torch

    warm_up(torch, device)
    kept = torch.empty(CHILD_MIB * MIB, dtype=torch.uint8, device=f"cuda:{device}")
    torch.cuda.synchronize(device)
    print(torch.cuda.memory_reserved(device), flush=True)
    sys.stdin.readline()
    del kept


def nvidia_smi(what: str, columns: tuple[str, ...], uuid: str) -> list[list[str]]:
    """Its rows about one device, sizes in MiB; empty where it does not answer."""
    command = ["nvidia-smi", f"--query-{what}={','.join(columns)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    return [row for row in rows if row[0] == uuid]


# What the command does


def missing() -> list[str]:
    """What this machine lacks, asked in a process of its own: the answer takes `import torch` and a look at CUDA."""
    code = (
        "import json, torch; "
        "print(json.dumps([torch.version.cuda, torch.cuda.is_available() and torch.cuda.device_count(), "
        "torch.__version__]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=_CHECK_S, check=False)
    lacks = []
    if done.returncode:
        lacks.append("PyTorch can not be imported")
    else:
        cuda, devices, version = json.loads(done.stdout.splitlines()[-1])
        if cuda is None:
            lacks.append(f"PyTorch {version} is not built for CUDA")
        elif not devices:
            lacks.append("PyTorch finds no CUDA device")
    unavailable = Nvml().why_not()
    return lacks if unavailable is None else [*lacks, f"{unavailable.reason}: {unavailable.remedy}"]


def run_check(name: str, arguments: argparse.Namespace) -> list[Row]:
    """One check in a new process. What breaks there is a row that is off."""
    given = ("--device", arguments.device, "--size-mib", arguments.size_mib, "--budget-us", arguments.budget_us)
    command = [sys.executable, __file__, "--check", name, *map(str, given)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CHECK_S, check=False)
    except subprocess.TimeoutExpired:
        return [Row(name, "no answer", "", False, f"after {_CHECK_S:.0f} s")]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        return [Row(name, f"exit code {done.returncode}", "", False, last[:100])]
    return [Row(*row) for row in json.loads(done.stdout.splitlines()[-1])]


def show(rows: list[Row], *, markdown: bool) -> None:
    """The table."""
    words = {True: "ok", False: "OFF", None: "not compared"}
    titles = ("", "what", "phasescope", "independently", "")
    cells = [titles, *((words[row.holds], row.what, row.measured, row.independent, row.note) for row in rows)]
    if markdown:
        lines = ["| " + " | ".join(line) + " |" for line in cells]
        lines.insert(1, "|---" * len(titles) + "|")
    else:
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    print("\n".join(lines))


def machine() -> str:
    """The date and what was checked, in one line."""
    smi = shutil.which("nvidia-smi")
    query = ["--query-gpu=name,driver_version", "--format=csv,noheader"]
    device = subprocess.run([smi, *query], capture_output=True, text=True, check=False).stdout if smi else ""
    versions = f"phasescope {phasescope.__version__}, Python {platform.python_version()}, {platform.platform()}"
    return f"{time.strftime('%Y-%m-%d')}; {'; '.join(device.split(chr(10))[:1]) or 'device unknown'}; {versions}"


def main() -> int:
    """Run all checks, or the one that this process was made for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", type=int, default=0, help="the device, as torch numbers it")
    parser.add_argument("--size-mib", type=int, default=200, help="how much the checks allocate")
    parser.add_argument("--budget-us", type=float, default=25.0, help="what a phase may cost")
    parser.add_argument("--markdown", action="store_true", help="the table for docs/gpu-check.md")
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS), help="by default all of them")
    parser.add_argument("--check", choices=CHECKS, help=argparse.SUPPRESS)
    parser.add_argument("--hold", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hold is not None:
        hold(arguments.hold)
        return OK
    if arguments.check:
        setting = Setting(arguments.device, arguments.size_mib * MIB, arguments.budget_us)
        print(json.dumps(list(CHECKS[arguments.check](setting))))
        return OK
    lacks = missing()
    if lacks:
        print("this machine can not be checked:", *lacks, sep="\n  ", file=sys.stderr)
        return CAN_NOT
    print(machine())
    rows = [row for name in arguments.only for row in run_check(name, arguments)]
    show(rows, markdown=arguments.markdown)
    off = sum(row.holds is False for row in rows)
    print(f"\n{len(rows)} compared, {off} off, {sum(row.holds is None for row in rows)} not comparable here")
    return OFF if off else OK


if __name__ == "__main__":
    sys.exit(main())
