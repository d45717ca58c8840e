"""Run the core's tests on every Python here, with the oldest dependencies allowed and the newest; print a table.

    python scripts/test_versions.py [--only 3.12] [--dependencies newest] [--again] [tests/wire ...] [pytest's options]

Each row has an environment of its own under .venv-versions. Each classifier and bound in pyproject.toml has been run as
a row of this table. The core is what runs without a framework; what needs one skips itself. One more row has the oldest
frameworks that docs/integrations.md names, and runs the programs of tests/programs/loops. The newest have `make test`.
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
TOOLS = (
    "pytest",
    "pytest-xdist",
    "pytest-timeout",
    "hypothesis",
    "jsonschema",
    "httpx",
    "numpy",
    "perfetto",
)
CORE: tuple[str, ...] = ("tests", "--ignore=tests/project")  # the project's own rules are the same on each Python
LOOPS: tuple[str, ...] = ("tests/programs/test_marked_loops.py",)
OLDEST, NEWEST, FRAMEWORKS = "oldest", "newest", "frameworks"
LIMIT_S = 3600.0  # of a row: a hundred times more than the slowest test may take
_REQUIREMENT = re.compile(r'"([\w.-]+)>=([\w.]+)"')
_BUILD = re.compile(r'^requires = \["(.*)"\]', re.MULTILINE)  # a test builds a wheel without a compiler
NOT_THEIRS = (
    "setuptools",
    "torch",
    "tensorboard",
    "mlflow-skinny",
    "wandb",
)  # the last three have `make test-trackers`
_COUNT = re.compile(r"(\d+) (passed|failed|error|skipped)")


class Row(NamedTuple):
    """One environment: a Python, and which of the allowed dependencies, or the oldest frameworks."""

    python: str
    dependencies: str

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.python}-{self.dependencies}"


class Result(NamedTuple):
    """The result of a row's tests."""

    row: Row
    counts: dict[str, int]
    took_s: float
    problem: str = ""

    @property
    def is_good(self) -> bool:
        """All passed, and there were some."""
        return not self.problem and self.counts.get("passed", 0) > 0 and not self.counts.keys() & {"failed", "error"}


def main() -> int:
    """Run all rows. Return 1 if a test failed or an environment could not be made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PYTHONS, help="this Python, and no other")
    parser.add_argument("--dependencies", action="append", choices=(OLDEST, NEWEST, FRAMEWORKS), help="only with these")
    parser.add_argument("--again", action="store_true", help="make the environments again")
    arguments, pytest_arguments = parser.parse_known_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests send it; what is started with `&` ignores it
    if arguments.again:
        shutil.rmtree(ENVIRONMENTS, ignore_errors=True)
    wanted = arguments.only or PYTHONS
    interpreters = {version: path for version in wanted if (path := interpreter(version)) is not None}
    rows = [Row(version, NEWEST) for version in interpreters]
    if interpreters:  # the oldest were compiled for it: newer Pythons have no wheels of those
        first = next(iter(interpreters))
        rows = [Row(first, OLDEST), *rows, Row(first, FRAMEWORKS)]
    rows = [row for row in rows if arguments.dependencies is None or row.dependencies in arguments.dependencies]
    results = [run(row, interpreters[row.python], pytest_arguments) for row in rows]
    print_table(results, [version for version in wanted if version not in interpreters])
    return 0 if results and all(result.is_good for result in results) else 1


def interpreter(version: str) -> Path | None:
    """Return a Python of this version: on the path, or one of pyenv's."""
    on_path = shutil.which(f"python{version}")
    candidates = [Path(on_path)] if on_path else []
    candidates += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True)
    return next((path for path in candidates if version_of(path) == version), None)


def version_of(python: Path) -> str | None:
    """Return its own answer; None if it does not run (pyenv's shims name versions that are not active)."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    asked = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return asked.stdout.strip() if asked.returncode == 0 else None


def requirements(pyproject: str, oldest: bool) -> list[str]:
    """Return the requirements of the core and its extras, but torch and trackers: the lower bounds, or the newest."""
    requirements = [(name, version) for name, version in _REQUIREMENT.findall(pyproject) if name not in NOT_THEIRS]
    return [f"{name}=={version}" if oldest else name for name, version in requirements]


def run(row: Row, python: Path, pytest_arguments: list[str]) -> Result:
    """Make the environment if there is none, and run the tests in it."""
    began = time.monotonic()
    folder = ENVIRONMENTS / row.name
    print(f"{row.name}: ", end="", flush=True)
    problem = "" if (folder / "ready").exists() else made(folder, row, python)
    if problem:
        print("no environment")
        return Result(row, {}, time.monotonic() - began, problem)
    chosen = LOOPS if row.dependencies == FRAMEWORKS else CORE
    if any(argument.startswith("tests/") for argument in pytest_arguments):
        chosen = ()
    tests = [str(folder / "bin" / "python"), "-m", "pytest", "-p", "no:cacheprovider", *chosen, *pytest_arguments]
    output = folder / "output.txt"  # to be read while it runs
    with output.open("w", encoding="utf-8") as file:
        try:
            subprocess.run(tests, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False, timeout=LIMIT_S)
            last = output.read_text(encoding="utf-8").strip().rpartition("\n")[2]
        except subprocess.TimeoutExpired:
            last = f"stopped after {LIMIT_S / 60:.0f} minutes"
    counts = {what: int(number) for number, what in _COUNT.findall(last)}
    print(last.strip("= "))
    return Result(row, counts, time.monotonic() - began, "" if counts else f"{last.strip()[:60]}, see {output}")


def made(folder: Path, row: Row, python: Path) -> str:
    """Make the environment; return the failure, if there was one."""
    shutil.rmtree(folder, ignore_errors=True)
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    theirs = requirements(pyproject, row.dependencies == OLDEST) + _BUILD.findall(pyproject)
    if row.dependencies == FRAMEWORKS:
        theirs += ["--requirement", str(ROOT / "requirements" / "oldest.txt")]
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
    """Print one line a row."""
    print(f"\n{'Python':8}{'dependencies':14}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for row, counts, took_s, problem in results:
        failed = counts.get("failed", 0) + counts.get("error", 0)
        numbers = f"{counts.get('passed', 0):>8}{failed:>8}{counts.get('skipped', 0):>9}{took_s:>9.0f}"
        print(f"{row.python:8}{row.dependencies:14}{numbers}  {problem}".rstrip())
    for version in missing:
        print(f"{version:8}not here")


if __name__ == "__main__":
    sys.exit(main())
