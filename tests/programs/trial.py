"""Each program here is run as Python runs it and under `phasescope run`; what it expects is checked in both.

Either is a fork of a process that has loaded the framework (`preloaded.py`), where a program does not say
`loading: under run`.

A program's docstring is its name in words, an empty line, and the fields of `Expected`, one a line. `tree:` is last:
the phases, two spaces a level, each with how often it was entered and, where some ended otherwise, how
(`forward ×3, 1 error`).
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import importlib.util
import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import phasescope
from phasescope.cli import main
from programs.preloaded import CALM, LIMIT_S, Ended, modules_for, preloaded

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = Path(__file__).parent
KINDS = ("harm", "loops", "growth", "reliability")


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a program's docstring says."""

    title: str
    needs: str = ""  # modules without which it cannot run
    arguments: str = ""
    options: str = ""  # of `phasescope run`
    launcher: str = ""  # what stands between Python and the script: "-m torch.distributed.run ..."
    stdin: str = ""
    directory: str = ""  # the mode with which PHASESCOPE_DIR was made before; else it is not there
    exit: str = "0"  # a negative one: by that signal
    stderr: str = "same"  # or why it is not the same from run to run
    differs: str = ""  # files whose bytes are not the same from run to run, as patterns
    verdict: str = "none"  # the kind of cause that explain names
    says: tuple[str, ...] = ()  # patterns that are in what explain says
    never: tuple[str, ...] = ()  # patterns that are not
    cpu: str = "8"  # seconds of processor time that it may cost more under run; loading what reads the ring among them
    loading: str = "before"  # or "under run": it loads its framework itself, while that is being marked
    ranks: str = "0"  # of the sessions that can be read afterwards
    tree: tuple[str, ...] = ()  # `...` where it is not the same from run to run

    @property
    def missing(self) -> list[str]:
        """The modules that it needs and that are not here."""
        return [name for name in self.needs.split() if importlib.util.find_spec(name) is None]


@dataclasses.dataclass
class Outcome:
    """What a program left: `faults` is empty where all is as expected; `row` is its line of the table."""

    row: dict[str, str]
    faults: list[str]


def programs(kind: str) -> list[Path]:
    return sorted((FOLDER / kind).glob("[!_]*.py"))


def expected_of(program: Path) -> Expected:
    text = ast.get_docstring(ast.parse(program.read_text(encoding="utf-8"))) or ""
    title, _, rest = text.partition("\n\n")
    head, _, tree = rest.partition("tree:\n")
    fields: dict[str, Any] = {"title": title, "tree": tuple(line[2:] for line in tree.splitlines())}
    for line in head.splitlines():
        name, _, value = line.partition(":")
        assert name in Expected.__dataclass_fields__, f"{program.name}: no field {line!r}"
        value = value.strip()
        fields[name] = (*fields.get(name, ()), value) if name in ("says", "never") else value
    return Expected(**fields)


def try_out(program: Path, folder: Path) -> Outcome:
    """Run it both ways in the same empty directory, and compare."""
    expected = expected_of(program)
    plain = _run(program, expected, folder, "alone", [])
    marked = _run(program, expected, folder, "under run", ["-m", "phasescope", "run", *expected.options.split()])
    sessions = _sessions(folder / "under run")
    looks = {
        "exit": _exits(expected, plain, marked),
        "output": _outputs(expected, plain, marked),
        "files": _files(expected, plain, marked),
        "tree": _trees(expected, sessions),
        "verdict": _verdicts(expected, sessions),
        "seconds": _costs(expected, plain, marked),
    }
    faults = [f"{look}: {fault}" for look, (_, found) in looks.items() for fault in found]
    row = {"program": f"{program.parent.name}/{program.stem}", **{look: told for look, (told, _) in looks.items()}}
    if faults:
        faults.append(f"standard error under run:\n{marked.stderr}")
    return Outcome(row, faults)


@dataclasses.dataclass
class _Run:
    exit: int
    stdout: str
    stderr: str
    files: dict[str, bytes]
    seconds: float  # of processor time, its children's included


_Look = tuple[str, list[str]]  # what the table says, and the faults
_Session = tuple[int, int, Path]  # rank, start, ring
_FREE = ("...",)  # a tree that is another from run to run


def _run(program: Path, expected: Expected, folder: Path, how: str, through: list[str]) -> _Run:
    """Run it in a directory of the same name each time, with a directory for sessions of its own."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    arguments = [_bytes(argument) for argument in expected.arguments.split()]
    environment = _environment(folder / how, expected)
    before = [*expected.launcher.split(), *through]
    modules = _loaded_before(program, expected, bool(through))
    if modules and preloaded(modules).is_silent:
        done = preloaded(modules).run(before, program, arguments, work, environment)
    else:
        command: list[str | bytes] = [sys.executable, *before, str(program), *arguments]
        done = _from_its_start(command, _bytes(expected.stdin), work, environment)
    files = {str(path.relative_to(work)): path.read_bytes() for path in sorted(work.rglob("*")) if path.is_file()}
    told, stderr = (text.decode("utf-8", "backslashreplace") for text in (done.stdout, done.stderr))
    shown = re.sub(r"\nphasescope: pid \d+.*", "", stderr, flags=re.DOTALL)
    return _Run(done.exit, told, shown, files, done.seconds)


def _loaded_before(program: Path, expected: Expected, under_run: bool) -> tuple[str, ...]:
    """What a process may have loaded that forks for it; nothing where loading is part of what is tried.

    Where another program launches it, that one is the fork, in which nothing is marked.
    """
    options = expected.launcher and not expected.launcher.startswith("-m ")
    if expected.stdin or options or (under_run and expected.loading != "before"):
        return ()
    return modules_for(expected.needs, program.read_text(encoding="utf-8"))


def _from_its_start(command: list[str | bytes], stdin: bytes, work: Path, environment: dict[str, str]) -> Ended:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, input=stdin, capture_output=True, timeout=LIMIT_S, check=False, cwd=work, env=environment
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ended(done.returncode, done.stdout, done.stderr, seconds)


def _bytes(text: str) -> bytes:
    """What a docstring writes as `\\xe9` is that byte."""
    return text.encode().decode("unicode_escape").encode("latin-1")


def _environment(rings: Path, expected: Expected) -> dict[str, str]:
    if expected.directory:
        rings.mkdir()
        rings.chmod(int(expected.directory, 8))
    return {**os.environ, **CALM, "HF_HUB_OFFLINE": "1", "PHASESCOPE_DIR": str(rings), "PYTHONPATH": ""}


def _exits(expected: Expected, plain: _Run, marked: _Run) -> _Look:
    codes = [str(plain.exit), str(marked.exit)]
    faults = [
        f"{code} {how}, not {expected.exit}"
        for code, how in zip(codes, ("alone", "under run"), strict=True)
        if code != expected.exit
    ]
    return codes[0] if codes[0] == codes[1] else " ≠ ".join(codes), faults


def _outputs(expected: Expected, plain: _Run, marked: _Run) -> _Look:
    pairs = {"stdout": (plain.stdout, marked.stdout), "stderr": (plain.stderr, marked.stderr)}
    if expected.stderr != "same":
        del pairs["stderr"]
    faults = [f"{name} is {had!r} alone, {has!r} under run" for name, (had, has) in pairs.items() if had != has]
    return "other" if faults else "same", faults


def _files(expected: Expected, plain: _Run, marked: _Run) -> _Look:
    free = expected.differs.split()
    faults = [f"only one of both wrote {name}" for name in sorted(plain.files.keys() ^ marked.files.keys())]
    faults += [
        f"{name} has other bytes"
        for name in sorted(plain.files.keys() & marked.files.keys())
        if plain.files[name] != marked.files[name] and not any(Path(name).match(pattern) for pattern in free)
    ]
    return "other" if faults else f"{len(plain.files)} same" if plain.files else "–", faults


def _costs(expected: Expected, plain: _Run, marked: _Run) -> _Look:
    """What the processor was busy with it: a machine with other work to do does not change that much."""
    more = marked.seconds - plain.seconds
    faults = [f"{more:.1f} s more under run, not {expected.cpu}"] if more > float(expected.cpu) else []
    return f"{plain.seconds:.1f} → {marked.seconds:.1f}", faults


def _trees(expected: Expected, sessions: list[_Session]) -> _Look:
    faults = []
    ranks = " ".join(str(rank) for rank, _, _ in sessions) or "none"
    if ranks != expected.ranks:
        faults.append(f"sessions of ranks {ranks}, not {expected.ranks}")
    tree: tuple[str, ...] = ()
    if sessions:
        with phasescope.attach(_looked_at(sessions)) as reader:
            tree = tuple(_told(reader.summary().to_dict()["phases"]))
    if tree != expected.tree and expected.tree != _FREE:
        faults.append("\n".join(["", *_side_by_side(expected.tree, tree)]))
    return ("other" if faults else f"{len(tree)} phases" if tree else "none"), faults


def _sessions(rings: Path) -> list[_Session]:
    found = []
    for ring in rings.rglob("*.ring"):
        with contextlib.suppress(phasescope.RingError), phasescope.attach(ring) as reader:
            found.append((int(reader.constants.get("rank") or 0), int(reader.constants["started_ns"]), ring))
    return sorted(found)


def _looked_at(sessions: list[_Session]) -> Path:
    """Of the lowest rank the session that began last: where a program begins one of its own, that."""
    lowest = [ring for rank, _, ring in sessions if rank == sessions[0][0]]
    return lowest[-1]


def _told(phases: list[dict[str, Any]]) -> Iterable[str]:
    for phase in phases:
        ends = [f"{phase[how]} {word}" for how, word in _ENDS.items() if phase[how]]
        yield ", ".join([f"{'  ' * (phase['depth'] - 1)}{phase['path'][-1]} ×{phase['count']}", *ends])


_ENDS = {"errors": "error", "abandoned": "left open", "open": "open"}


def _side_by_side(expected: tuple[str, ...], found: tuple[str, ...]) -> list[str]:
    return [line for line in difflib.ndiff(expected, found) if not line.startswith("?")]


def _verdicts(expected: Expected, sessions: list[_Session]) -> _Look:
    if not sessions:
        return "none", [] if expected.ranks == "none" else ["there is no session"]
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = main(["explain", "--json", str(_looked_at(sessions))])
    explained = json.loads(told.getvalue())
    kind = explained["cause"]["kind"]
    lines = [explained["cause"]["text"], explained["happened"]]
    text = "\n".join([*lines, *(line for name in ("held", "phases", "advice", "unknown") for line in explained[name])])
    faults = [] if kind == expected.verdict else [f"{kind}, not {expected.verdict}:\n{text}"]
    if code != (0 if kind == "none" else 4):
        faults.append(f"explain ends with {code}")
    faults += [f"not said: {pattern}\n{text}" for pattern in expected.says if not re.search(pattern, text)]
    faults += [f"said: {pattern}\n{text}" for pattern in expected.never if re.search(pattern, text)]
    return kind, faults
