"""What a training saves has nothing of ours in it: the same bytes as without us, and it loads where we are not."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from scenarios import SCRIPTS

if TYPE_CHECKING:
    from pathlib import Path

SAVES = str(SCRIPTS / "saves.py")
NEEDS = {
    "torch": ("torch", "safetensors"),
    "trainers": ("torch", "lightning", "transformers", "accelerate", "safetensors"),
    "keras": ("keras", "tensorflow"),
}

_ADDRESSES = rb"\d{13,}"  # a pickled storage, and a shared object of Keras, go by their place in memory
_RANDOM = {
    "keras": r"exported/.*|model\.pickle",  # TensorFlow names its functions by numbers of its own; the date is in it
    "torch": r"distributed/\.metadata|model-old\.pt",  # an id of the writing; storages in the order of their addresses
}


@pytest.mark.parametrize("how", ["under run", "marked"])
@pytest.mark.parametrize("group", NEEDS)
def test_what_is_saved_has_the_bytes_that_it_has_without_us_and_loads_without_us(
    group: str, how: str, plain: dict[str, Path], loaded: dict[str, str], tmp_path: Path
) -> None:
    ours = tmp_path / "work"
    script = [SAVES, group, "plain"] if how == "under run" else [SAVES, group, "marked"]
    _python(ours, *(["-m", "phasescope", "run", "--no-summary"] if how == "under run" else []), *script)
    has, had = _contents(ours, group), _contents(plain[group], group)
    assert has.keys() == had.keys()
    assert [name for name in has if has[name] != had[name]] == []
    assert _python(ours, SAVES, group, "loads") == loaded[group]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each group the directory where it was saved without us, made when first asked for."""

    class Made(dict[str, "Path"]):
        def __missing__(self, group: str) -> Path:
            folder = self[group] = tmp_path_factory.mktemp(group) / "work"
            _python(folder, SAVES, group, "plain")
            return folder

    return Made()


@pytest.fixture(scope="module")
def loaded(plain: dict[str, Path]) -> dict[str, str]:
    """What loading tells that of each group."""

    class Told(dict[str, str]):
        def __missing__(self, group: str) -> str:
            told = self[group] = _python(plain[group], SAVES, group, "loads")
            return told

    return Told()


@pytest.fixture(autouse=True)
def needed(request: pytest.FixtureRequest) -> None:
    missing = [name for name in NEEDS[request.getfixturevalue("group")] if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def _python(folder: Path, *arguments: str) -> str:
    folder.mkdir(exist_ok=True)
    calm = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
        env={**os.environ, **calm, "KERAS_HOME": str(folder.parent / "keras")},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _contents(folder: Path, group: str) -> dict[str, object]:
    """Every file's bytes, by its name; of an archive with times in it what it holds."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            continue
        if re.fullmatch(_RANDOM.get(group, ""), name):
            found[name] = b"phasescope" in path.read_bytes()
        elif path.suffix == ".keras" or name == "traced.pt":
            found[name] = _of_archive(path)
        else:
            found[name] = re.sub(_ADDRESSES, b"", path.read_bytes())
    return found


def _of_archive(path: Path) -> dict[str, bytes]:
    """What lies in it, but for the date and for the Python stack at which a trace was taken, which begins in `run`."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith(("metadata.json", ".debug_pkl"))]
        return {name: re.sub(_ADDRESSES, b"", archive.read(name)) for name in names}
