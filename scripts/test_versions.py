"""Run the core's tests on every Python here, with the oldest dependencies allowed and the newest; print a table.

    python scripts/test_versions.py [--only 3.12] [--again] [tests/test_ring.py ...] [pytest's options]

Each row has an environment of its own under .venv-versions. What is written in pyproject.toml's classifiers and bounds
is what a row of this table was run with. Frameworks are not in it: those are big, and have `make test`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".venv-versions"
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
TOOLS = ("pytest", "pytest-xdist", "pytest-timeout", "hypothesis", "jsonschema", "httpx", "numpy", "perfetto")
CORE: tuple[str, ...] = (
    "tests",
    "--ignore=tests/integrations",
    "--ignore=tests/programs",
    "tests/integrations/test_pytest.py",
)
# Those need more than the core and its extras: frameworks, checkers, a build.
CORE += tuple(f"--ignore=tests/test_{name}.py" for name in ("sdist", "wheel", "readme"))
_REQUIREMENT = re.compile(r'"([\w.-]+)>=([\w.]+)"')
_NOT_THEIRS = ("setuptools", "torch")
_COUNT = re.compile(r"(\d+) (passed|failed|error|skipped)")


class Row(NamedTuple):
    """One environment: a Python, and which of the allowed dependencies."""

    python: str
    oldest: bool

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.python}-{'oldest' if self.oldest else 'newest'}"


class Result(NamedTuple):
    """What the tests of a row came to."""

    row: Row
    counts: dict[str, int]
    took_s: float
    problem: str = ""

    @property
    def is_good(self) -> bool:
        """All passed, and there were some."""
        return not self.problem and self.counts.get("passed", 0) > 0 and not self.counts.keys() & {"failed", "error"}


def main() -> int:
    """Run it. 1 where a test failed or an environment could not be made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PYTHONS, help="this Python, and no other")
    parser.add_argument("--again", action="store_true", help="make the environments anew")
    known, pytest_arguments = parser.parse_known_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests send it; what is started with `&` ignores it
    if known.again:
        shutil.rmtree(ENVIRONMENTS, ignore_errors=True)
    wanted = known.only or PYTHONS
    found = {version: path for version in wanted if (path := interpreter(version)) is not None}
    rows = [Row(version, oldest=False) for version in found]
    if found:
        rows.insert(0, Row(next(iter(found)), oldest=True))  # compiled for it: newer Pythons have no wheels of those
    results = [run(row, found[row.python], pytest_arguments) for row in rows]
    print_table(results, [version for version in wanted if version not in found])
    return 0 if results and all(result.is_good for result in results) else 1


def interpreter(version: str) -> Path | None:
    """A Python of this version: on the path, or one of pyenv's."""
    on_path = shutil.which(f"python{version}")
    candidates = [Path(on_path)] if on_path else []
    candidates += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True)
    return next((path for path in candidates if version_of(path) == version), None)


def version_of(python: Path) -> str | None:
    """Its own answer; None where it does not run (pyenv's shims name versions that are not active)."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    asked = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return asked.stdout.strip() if asked.returncode == 0 else None


def requirements(pyproject: str, oldest: bool) -> list[str]:
    """What the core and its extras ask for, without torch: exactly the lower bounds, or the newest."""
    found = [(name, version) for name, version in _REQUIREMENT.findall(pyproject) if name not in _NOT_THEIRS]
    return [f"{name}=={version}" if oldest else name for name, version in found]


def run(row: Row, python: Path, pytest_arguments: list[str]) -> Result:
    """Make the environment if there is none, and run the tests in it."""
    began = time.monotonic()
    folder = ENVIRONMENTS / row.name
    print(f"{row.name}: ", end="", flush=True)
    problem = "" if (folder / "ready").exists() else made(folder, row, python)
    if problem:
        print("no environment")
        return Result(row, {}, time.monotonic() - began, problem)
    core = () if any(argument.startswith("tests/") for argument in pytest_arguments) else CORE
    tests = [str(folder / "bin" / "python"), "-m", "pytest", "-p", "no:cacheprovider", *core]
    done = subprocess.run([*tests, *pytest_arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    (folder / "output.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    last = done.stdout.strip().rpartition("\n")[2]
    counts = {what: int(number) for number, what in _COUNT.findall(last)}
    print(last.strip("= "))
    return Result(row, counts, time.monotonic() - began, "" if counts else f"see {folder / 'output.txt'}")


def made(folder: Path, row: Row, python: Path) -> str:
    """Make the environment; what went wrong, if anything did."""
    shutil.rmtree(folder, ignore_errors=True)
    theirs = requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8"), row.oldest)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [str(python), "-m", "venv", str(folder)],
        [*pip, *theirs, *TOOLS],
        [*pip, "--no-deps", "--editable", str(ROOT)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said: str = done.stderr
            return said.strip().rpartition("\n")[2][:200]
    (folder / "ready").touch()
    return ""


def print_table(results: list[Result], missing: list[str]) -> None:
    """One line a row."""
    print(f"\n{'Python':8}{'dependencies':14}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for row, counts, took_s, problem in results:
        failed = counts.get("failed", 0) + counts.get("error", 0)
        kind = "oldest" if row.oldest else "newest"
        numbers = f"{counts.get('passed', 0):>8}{failed:>8}{counts.get('skipped', 0):>9}{took_s:>9.0f}"
        print(f"{row.python:8}{kind:14}{numbers}  {problem}".rstrip())
    for version in missing:
        print(f"{version:8}not here")


if __name__ == "__main__":
    sys.exit(main())
