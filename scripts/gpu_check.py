"""Holds what phasescope measures on an NVIDIA device against figures that come another way, and prints the table.

    python scripts/gpu_check.py [--wheels DIR] [--budget 720] [--results gpu_check.jsonl] [--only BLOCK …] [--markdown]

Each block runs in a process of its own, so that what one initialises or breaks is not another's, the most valuable ones
first; its rows are in the results file before the next one begins. Exit code 0: nothing is off; 1: something is; 2:
this machine cannot be checked, and what is missing. See docs/gpu-check.md.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpu_checks.rows import Row, Setting

OK, OFF, CANNOT = 0, 1, 2
_BLOCK_S = 150.0
_LEAST_S = 5.0


class Block(NamedTuple):
    """A function of a module of `gpu_checks`, and the environment that it needs beside the machine's."""

    module: str
    function: str
    environment: dict[str, str] = {}  # noqa: RUF012 - never changed


_EXPANDABLE = "expandable_segments:True"
BLOCKS = {
    "readings": Block("costs", "readings"),
    "fresh_thread": Block("costs", "fresh_thread"),
    "capture": Block("costs", "capture"),
    "steps": Block("costs", "steps"),
    "shortages": Block("shortages", "in_a_step"),
    "limit": Block("shortages", "under_a_limit"),
    "pieces": Block("shortages", "in_pieces"),
    "pieces_expandable": Block("shortages", "in_pieces", {"PYTORCH_CUDA_ALLOC_CONF": _EXPANDABLE}),
    "others": Block("shortages", "beside_another"),
    "untouched": Block("figures", "untouched"),
    "allocation": Block("figures", "allocation"),
    "peaks": Block("figures", "peaks"),
    "device_memory": Block("figures", "device_memory"),
    "two_processes": Block("figures", "two_processes"),
    "out_of_memory": Block("figures", "out_of_memory"),
    "device_time": Block("figures", "device_time"),
    "heartbeat": Block("costs", "heartbeat"),
    "driver_calls": Block("costs", "driver_calls"),
    "pollers": Block("allocators", "pollers"),
    "compiled": Block("allocators", "compiled"),
    "side_stream": Block("allocators", "side_stream"),
    "callbacks": Block("allocators", "callbacks"),
    "readings_python": Block("costs", "readings", {"PHASESCOPE_PURE_PYTHON": "1"}),
    "loader": Block("allocators", "loader"),
    "forked": Block("figures", "forked"),
    "asynchronous": Block("allocators", "asynchronous", {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}),
    "snapshot": Block("allocators", "snapshot"),
    "counts": Block("allocators", "cost_of_counts"),
    "jax": Block("figures", "jax"),
    "tensorflow": Block("figures", "tensorflow"),
}
"""The most valuable first: what the budget does not reach is said not to have been run."""


def from_wheels(folder: Path) -> None:
    """Install phasescope from these wheels beside what this Python has, without a network, and go on there."""
    place = Path(tempfile.mkdtemp(prefix="gpu-check-"))
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(place)], check=True)
    python = str(place / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(folder), "phasescope"]
    subprocess.run(install, check=True)
    given = [argument for argument in sys.argv[1:] if not argument.startswith("--wheels=")]
    if "--wheels" in given:
        at = given.index("--wheels")
        del given[at : at + 2]
    os.execv(python, [python, __file__, *given])


def missing() -> list[str]:
    """Return what this machine lacks, asked in a process of its own: the answer takes `import torch` and a look at
    CUDA."""
    code = (
        "import json, torch; "
        "print(json.dumps([torch.version.cuda, torch.cuda.is_available() and torch.cuda.device_count(), "
        "torch.__version__]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=_BLOCK_S, check=False)
    lacks = []
    if done.returncode:
        lacks.append("PyTorch cannot be imported")
    else:
        cuda, devices, version = json.loads(done.stdout.splitlines()[-1])
        if cuda is None:
            lacks.append(f"PyTorch {version} is not built for CUDA")
        elif not devices:
            lacks.append("PyTorch finds no CUDA device")
    from phasescope.backends.nvml import Nvml

    unavailable = Nvml().why_not()
    return lacks if unavailable is None else [*lacks, f"{unavailable.reason}: {unavailable.remedy}"]


def run_block(name: str, arguments: argparse.Namespace, limit_s: float) -> list[Row]:
    """Return one block's rows, out of a new process. What breaks there is a row that is off."""
    from gpu_checks.rows import Row

    given = ("--device", arguments.device, "--size-mib", arguments.size_mib, "--budget-us", arguments.budget_us)
    command = [sys.executable, __file__, "--check", name, *map(str, given)]
    environment = {**os.environ, **BLOCKS[name].environment}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False, env=environment)
    except subprocess.TimeoutExpired:
        return [Row(name, "no answer", "", False, f"after {limit_s:.0f} s")]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        return [Row(name, f"exit code {done.returncode}", "", False, last[:100])]
    return [Row(*row) for row in json.loads(done.stdout.splitlines()[-1])]


def run_all(arguments: argparse.Namespace) -> Iterator[Row]:
    """Run the blocks that the budget reaches, each one's rows written before the next begins."""
    from gpu_checks.rows import Row

    end = time.monotonic() + arguments.budget
    with Path(arguments.results).open("w", encoding="utf-8") as file:

        def keep(told: dict[str, Any]) -> None:
            file.write(json.dumps(told) + "\n")
            file.flush()
            os.fsync(file.fileno())

        keep({"machine": machine(), "budget_s": arguments.budget})
        for name in arguments.only:
            begin = time.monotonic()
            if end - begin < _LEAST_S:
                rows = [Row(name, "", "", None, "not run: the budget was spent")]
            else:
                rows = run_block(name, arguments, min(_BLOCK_S, end - begin))
            keep({"block": name, "seconds": round(time.monotonic() - begin, 1), "rows": rows})
            print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
            yield from rows


def show(rows: list[Row], *, markdown: bool) -> None:
    """Print the table."""
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
    """Return the date and what was checked, in one line."""
    import phasescope

    smi = shutil.which("nvidia-smi")
    query = ["--query-gpu=name,driver_version", "--format=csv,noheader"]
    device = subprocess.run([smi, *query], capture_output=True, text=True, check=False).stdout if smi else ""
    versions = f"phasescope {phasescope.__version__}, Python {platform.python_version()}, {platform.platform()}"
    return f"{time.strftime('%Y-%m-%d')}; {'; '.join(device.split(chr(10))[:1]) or 'device unknown'}; {versions}"


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--wheels", type=Path, help="install phasescope from these wheels first, without a network")
    made.add_argument("--budget", type=float, default=720.0, help="seconds for all of it")
    made.add_argument("--results", default="gpu_check.jsonl", help="where each block's rows are written at once")
    made.add_argument("--device", type=int, default=0, help="the device, as torch numbers it")
    made.add_argument("--size-mib", type=int, default=200, help="how much the blocks allocate at a time")
    made.add_argument("--budget-us", type=float, default=25.0, help="what a phase may cost beside torch's statistics")
    made.add_argument("--markdown", action="store_true", help="the table for docs/gpu-check.md")
    made.add_argument("--only", nargs="+", choices=BLOCKS, default=list(BLOCKS), help="by default all of them")
    made.add_argument("--check", choices=BLOCKS, help=argparse.SUPPRESS)
    made.add_argument("--hold", type=int, help=argparse.SUPPRESS)
    made.add_argument("--hold-mib", type=int, default=512, help=argparse.SUPPRESS)
    return made


def main() -> int:
    """Run all blocks, or the one that this process was made for."""
    arguments = parser().parse_args()
    if arguments.wheels is not None:
        from_wheels(arguments.wheels)
    if importlib.util.find_spec("phasescope") is None:
        print("this machine cannot be checked:\n  phasescope is not installed: --wheels DIR", file=sys.stderr)
        return CANNOT
    from gpu_checks.rows import MIB, Setting, hold

    if arguments.hold is not None:
        hold(arguments.hold, arguments.hold_mib)
        return OK
    if arguments.check:
        block = BLOCKS[arguments.check]
        check: Callable[[Setting], Iterator[Row]]
        check = getattr(importlib.import_module(f"gpu_checks.{block.module}"), block.function)
        setting = Setting(arguments.device, arguments.size_mib * MIB, arguments.budget_us)
        print(json.dumps(list(check(setting))))
        return OK
    lacks = missing()
    if lacks:
        print("this machine cannot be checked:", *lacks, sep="\n  ", file=sys.stderr)
        return CANNOT
    print(machine())
    rows = list(run_all(arguments))
    show(rows, markdown=arguments.markdown)
    off = sum(row.holds is False for row in rows)
    print(f"\n{len(rows)} rows, {off} off, {sum(row.holds is None for row in rows)} not compared; {arguments.results}")
    return OFF if off else OK


if __name__ == "__main__":
    sys.exit(main())
