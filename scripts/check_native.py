"""Check the compiled core for what Python does not see: memory errors, undefined behaviour, leaks.

The core is built once more, with AddressSanitizer and UBSan, in a copy of the package under build/, and its tests run
over that. The reader of records is fuzzed, and a run under valgrind must show no invalid access of the core's.
`--short` is what `make test` does: fewer inputs, and no valgrind.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ROOT / "src" / "phasescope" / "_native"
BUILD = ROOT / "build" / "check-native"
SANITIZE = [
    "-std=c11",
    "-g",
    "-O1",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
]
STRICT = ["-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers", "-Wno-cast-function-type"]
TESTS = ["tests/native/test_core.py", "tests/native/test_same_rings.py", "tests/native/test_fold.py"]
TESTS += ["tests/native/test_touching.py", "tests/native/test_rows.py", "tests/native/test_line_rows.py"]
TESTS += ["tests/native/test_ticks.py", "tests/native/test_left_behind.py"]
MORE_TESTS = ["tests/wire/test_ring.py", "tests/wire/test_ring_fuzz.py", "tests/capture/test_phases.py"]
MORE_TESTS += [
    "tests/capture/test_phases_threads.py",
    "tests/capture/test_phases_asyncio.py",
    "tests/capture/test_track.py",
]
PHASES = """
import phasescope
from phasescope import phase
with phasescope.start(backends=["cpu"], interval_ms=3_600_000) as session:
    for number in range(300):
        with phase("step", number=number):
            with phase("inner", text="text"):
                pass
    print(len(session.events()))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer inputs, no valgrind")
    parser.add_argument("--inputs", type=int, help="how many inputs the fuzzer makes")
    arguments = parser.parse_args()
    if shutil.which("gcc") is None:
        print("no gcc here: the compiled core is not checked")
        return 0
    inputs = arguments.inputs or (200_000 if arguments.short else 10_000_000)
    succeeded = {"fuzzer": fuzz(inputs), "sanitizers": sanitize(arguments.short)}
    if not arguments.short:
        succeeded["valgrind"] = valgrind()
    failed = [name for name, is_good in succeeded.items() if not is_good]
    print("the compiled core: " + (f"failed: {', '.join(failed)}" if failed else "nothing found"))
    return 1 if failed else 0


def run(*command: str | Path, **environment: str) -> bool:
    """Run a command, and return whether it succeeded."""
    print("+", " ".join(Path(part).name if "/" in str(part) else str(part) for part in command)[:150], flush=True)
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode == 0


def fuzz(inputs: int) -> bool:
    BUILD.mkdir(parents=True, exist_ok=True)
    made = BUILD / "fuzz_records"
    sources = [ROOT / "tests" / "native" / "fuzz_records.c", CORE / "crc32.c"]
    return run("gcc", *SANITIZE, *STRICT, *sources, "-o", made) and run(made, str(inputs))


def sanitize(is_short: bool) -> bool:
    """Build the core with the sanitizers, and run its tests over it."""
    package = BUILD / "package" / "phasescope"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "src" / "phasescope", package, ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.c"))
    shutil.copytree(ROOT / "integrations", package / "integrations", ignore=shutil.ignore_patterns("__pycache__"))
    include, suffix = sysconfig.get_paths()["include"], str(sysconfig.get_config_var("EXT_SUFFIX"))
    made = package / "_native" / f"_core{suffix}"
    if not run(
        "gcc", *SANITIZE, *STRICT, "-shared", "-fPIC", f"-I{include}", *sorted(CORE.glob("*.c")), "-lm", "-o", made
    ):
        return False
    library = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
    tests = TESTS if is_short else [*TESTS, *MORE_TESTS]
    return run(
        *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests),
        LD_PRELOAD=library.strip(),
        PYTHONPATH=str(package.parent),
        ASAN_OPTIONS="detect_leaks=0:handle_segv=1:allocator_may_return_null=1",
        UBSAN_OPTIONS="print_stacktrace=1",
        PYTHONMALLOC="malloc",
    )


def valgrind() -> bool:
    """Let phases be written and read under valgrind; an access of the core's to what is not its own is an error."""
    if shutil.which("valgrind") is None:
        print("no valgrind here")
        return True
    log = BUILD / "valgrind.log"
    command = ["valgrind", "--tool=memcheck", "--leak-check=no", f"--log-file={log}", sys.executable, "-c", PHASES]
    if not run(*command, PYTHONMALLOC="malloc"):
        return False
    lines = log.read_text(encoding="utf-8").splitlines()
    # The interpreter's own collector and its optimised loops are full of what looks odd here: what counts is where an
    # access was made, in the core or in what it called directly (a copy of the C library's).
    return not any(
        " at 0x" in line and "_native/_core." in line + following for line, following in itertools.pairwise(lines)
    )


if __name__ == "__main__":
    sys.exit(main())
