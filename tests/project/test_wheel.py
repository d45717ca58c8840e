"""The wheel holds every module and asset of the repository, runs without frameworks, and is typed for its users."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import phasescope

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parent / "scripts" / "user_script.py"
NEEDED = ("msgspec", "psutil", "nvidia-ml-py")
CEILING_S = 600
OURS = {ROOT / "src" / "phasescope": "phasescope", ROOT / "integrations": "phasescope/integrations"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since building writes beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("src/phasescope", "integrations"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    made = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder, source],
        capture_output=True,
        text=True,
        check=False,
        timeout=CEILING_S,
    )
    assert made.returncode == 0, made.stderr
    (found,) = folder.glob("phasescope-*.whl")
    return found


def test_it_holds_every_file_of_the_package_and_nothing_else_of_ours(wheel: Path) -> None:
    expected = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for folder, name in OURS.items()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".c", ".h", ".so")
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    compiled = {name for name in held if name.startswith("phasescope/_native/_core.") and not name.endswith(".pyi")}
    assert held - compiled == expected
    assert len(compiled) <= 1, "without a compiler there is none"
    assert wheel.stat().st_size < 2 * 2**20


def test_it_runs_where_it_was_unpacked(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "there")
    code = (
        "import phasescope, phasescope.integrations.torch\n"
        "from phasescope.cli import main\n"
        "print(phasescope.__file__)\n"
        "with phasescope.start(backends=['cpu']), phasescope.phase('here'): pass\n"
        "raise SystemExit(main(['summary', str(phasescope.attach().path)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=CEILING_S,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "there"), "PHASESCOPE_DIR": str(tmp_path / "rings")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "there"))
    assert "here" in done.stdout


# --- in an environment of its own ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the interpreter of a fresh environment with the wheel, and its dependencies as they are installed here."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt")
    (interpreter,) = (path for path in folder.glob("*/python*") if path.stem == "python")
    (packages,) = folder.rglob("site-packages")
    before = {path.name for path in packages.iterdir()}
    pip = (sys.executable, "-m", "pip", "--python", interpreter)
    run(*pip, "install", "-q", "--no-deps", "--no-index", wheel)
    added = {path.name for path in packages.iterdir()} - before
    assert {name for name in added if not name.endswith(".dist-info")} == {"phasescope"}
    for name in NEEDED:
        for file in importlib.metadata.files(name) or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                target = packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)
    return interpreter


def run(*command: str | Path) -> str:
    """Run a command far from this repository, and give its output; it must succeed."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=CEILING_S, cwd=Path(command[0]).parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_script_uses_every_public_name() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert [name for name in phasescope.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_the_script_runs(python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHASESCOPE_DIR", str(tmp_path))
    said = run(python, SCRIPT).splitlines()
    assert said[-1] == phasescope.__version__
    assert said.count("phase_exit") == 9  # the epoch, four fetches, three calls, the generator


def test_mypy_takes_the_script(python: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    script = shutil.copy(SCRIPT, tmp_path)
    assert "Success" in run(*mypy(python, tmp_path), "--strict", script)


def test_pyright_takes_the_script(python: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed here: requirements/test.txt has it")
    pyright = (sys.executable, "-m", "pyright")
    fetched = subprocess.run([*pyright, "--version"], capture_output=True, text=True, check=False, timeout=CEILING_S)
    if fetched.returncode:
        pytest.skip("pyright could not fetch itself from npm")
    shutil.copy(SCRIPT, tmp_path)
    # Without torch here, the parameters of `instrument` are not known.
    settings = {"typeCheckingMode": "strict", "reportUnknownVariableType": False}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    assert "0 errors" in run(*pyright, "--pythonpath", python, "--project", tmp_path)


def test_a_type_checker_sees_what_is_wrong(python: Path, tmp_path: Path) -> None:
    """Without the types of the wheel everything would be `Any`, and pass."""
    pytest.importorskip("mypy")
    script = tmp_path / "wrong.py"
    script.write_text(
        "import phasescope\n"
        "from phasescope import Sesion\n"
        "number: int = phasescope.start().summary()\n"
        "phasescope.start(interval=5)\n"
        "print(Sesion, phasescope.peak)\n"
    )
    command = [*mypy(python, tmp_path), script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=CEILING_S, cwd=tmp_path)
    assert "Found 4 errors" in done.stdout, done.stdout + done.stderr


def mypy(python: Path, folder: Path) -> list[str | Path]:
    """Give the command that checks a script as one of that environment, without this project's settings."""
    settings = folder / "mypy.ini"
    settings.write_text("[mypy]\n")
    options = ("--config-file", settings, "--cache-dir", python.parent / "mypy-cache", "--python-executable", python)
    return [sys.executable, "-m", "mypy", *options]
