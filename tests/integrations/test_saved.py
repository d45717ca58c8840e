"""What a training saves has nothing of ours in it: the same bytes as without us, and it loads where we are not."""

from __future__ import annotations

import importlib.util
import json
import re
import zipfile
from typing import TYPE_CHECKING

import pytest

from support.commands import python
from support.scenarios import SCRIPTS

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


HOW = {
    "plain": ([], "plain"),
    "under run": (["-m", "phasescope", "run", "--no-summary"], "plain"),
    "marked": ([], "marked"),
}


@pytest.mark.parametrize("how", ["under run", "marked"])
@pytest.mark.parametrize("group", NEEDS)
def test_what_is_saved_has_the_bytes_that_it_has_without_us_and_loads_without_us(
    group: str, how: str, saved: dict[str, Path], loaded: dict[str, dict[str, str]]
) -> None:
    has = _contents(saved[group] / how, group, how)
    had = _contents(saved[group] / "plain", group, how)
    assert has.keys() == had.keys()
    assert [name for name in has if has[name] != had[name]] == []
    assert loaded[group][how] == loaded[group]["plain"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each group the directory with one for each way to save it, made when first asked for."""

    class Saved(dict[str, "Path"]):
        def __missing__(self, group: str) -> Path:
            folder = self[group] = tmp_path_factory.mktemp(group)
            for how, (through, marked) in HOW.items():
                # Where a file names its directory, that is the same one.
                _python(folder / "work", *through, SAVES, group, marked)
                (folder / "work").rename(folder / how)
            return folder

    return Saved()


@pytest.fixture(scope="module")
def loaded(saved: dict[str, Path]) -> dict[str, dict[str, str]]:
    """For each group what loading tells of each way to save it: all in one process, which takes long to start."""

    class Loaded(dict[str, "dict[str, str]"]):
        def __missing__(self, group: str) -> dict[str, str]:
            told = json.loads(_python(saved[group], SAVES, group, "loads", *HOW).splitlines()[-1])
            self[group] = told
            return dict(told)

    return Loaded()


@pytest.fixture(autouse=True)
def needed(request: pytest.FixtureRequest) -> None:
    missing = [name for name in NEEDS[request.getfixturevalue("group")] if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def _python(folder: Path, *arguments: str) -> str:
    folder.mkdir(exist_ok=True)
    calm = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    done = python(folder, *arguments, **calm, KERAS_HOME=str(folder.parent / "keras"))
    assert done.returncode == 0, done.stderr
    return done.stdout


def _contents(folder: Path, group: str, how: str) -> dict[str, object]:
    """Every file's bytes, by its name; of an archive with times in it what it holds."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            continue
        if re.fullmatch(_RANDOM.get(group, ""), name):
            found[name] = b"phasescope" in path.read_bytes()
        elif path.suffix == ".keras" or name == "traced.pt":
            found[name] = _of_archive(path, how)
        else:
            found[name] = re.sub(_ADDRESSES, b"", path.read_bytes())
    return found


def _of_archive(path: Path, how: str) -> dict[str, object]:
    """What lies in it, but for the date. Under `run` the Python stack at which a trace was taken begins in `run`."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if not name.endswith("metadata.json")}
    return {
        name: b"integrations" in data
        if how == "under run" and name.endswith(".debug_pkl")
        else re.sub(_ADDRESSES, b"", data)
        for name, data in held.items()
    }
