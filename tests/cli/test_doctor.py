"""`phasescope doctor`: what answers, and why the rest does not."""

from __future__ import annotations

import json
import os
import re
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

import pytest

from phasescope.backends import BACKENDS
from phasescope.capture.backend_selection import Diagnosis
from phasescope.cli._extras import EXTRAS
from support.commands import SOURCE, needs_files, outcome, second_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_doctor_says_what_answers_and_why_the_rest_does_not(directory: Path) -> None:
    exit_code, out, err = outcome(second_process("doctor", "--json", "--dir", str(directory)))
    assert (exit_code, err) == (0, "")
    found = json.loads(out)
    sources = {source["name"]: source for source in found["sources"]}
    assert sources["cpu"]["works"]
    for source in found["sources"]:
        assert source["works"] or source["reason"]
        assert source["works"] or bool(source["remedy"]) == (found["accelerator_seen"] is not False)
    backends = [name for name, source in sources.items() if source["kind"] == "backend"]
    assert found["phases_speak_of"] == [name for name in backends if sources[name]["works"]]
    (place,) = found["directories"]
    assert (place["path"], place["works"], place["free_bytes"] > 0) == (str(directory), True, True)


@needs_files
def test_doctor_exits_with_1_where_no_directory_works(
    directory: Path, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phasescope.capture.backend_selection.diagnose", list)  # the sources are not what is asked here
    directory.chmod(0o755)
    own = directory / f"phasescope-{os.getuid()}"
    own.mkdir()
    own.chmod(0o755)
    exit_code, out, _ = run("doctor")
    assert exit_code == 1
    assert "chmod 700" in out
    assert "no directory works" in out
    assert "\nphases here speak of: nothing, since no source of counters works\n" in out


@needs_files
@pytest.mark.parametrize(
    ("backends", "said"),
    [
        (["cpu"], "the process's resident memory on the host"),
        (
            ["cuda", "cpu"],
            "torch's allocator on the CUDA device, else the process's resident memory on the host: the first of these "
            "that the training uses",
        ),
    ],
)
def test_doctor_says_whose_memory_phases_speak_of(
    backends: list[str], said: str, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [Diagnosis(name, "backend", name in backends, "not here", "") for name in BACKENDS]
    monkeypatch.setattr("phasescope.capture.backend_selection.diagnose", lambda: sources)
    assert f"\nphases here speak of: {said}\n" in run("doctor")[1]


@needs_files
@pytest.mark.parametrize(
    ("pci_class", "vendor", "node", "seen"),
    [
        ("0x020000", "0x1af4", "null", False),
        ("0x030000", "0x1234", "null", False),  # the screen of a virtual machine
        ("0x030200", "0x10de", "null", True),
        ("0x020000", "0x1af4", "nvidia0", True),
        (None, None, "null", None),
    ],
)
def test_where_no_device_is_seen_no_driver_is_advised(
    pci_class: str | None,
    vendor: str | None,
    node: str,
    seen: bool | None,
    run: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / node).touch()
    if pci_class is not None and vendor is not None:
        device = tmp_path / "bus" / "pci" / "devices" / "0000:00:01.0"
        device.mkdir(parents=True)
        (device / "class").write_text(f"{pci_class}\n")
        (device / "vendor").write_text(f"{vendor}\n")
    monkeypatch.setattr("phasescope.backends.pci.SYS", tmp_path)
    monkeypatch.setattr("phasescope.backends.pci.DEV", tmp_path / "dev")
    sources = [Diagnosis("cuda", "backend", False, "built for the CPU", "install a build for CUDA")]
    monkeypatch.setattr("phasescope.capture.backend_selection.diagnose", lambda: sources)
    assert json.loads(run("doctor", "--json")[1])["accelerator_seen"] is seen
    out = run("doctor")[1]
    assert "no: built for the CPU" in out
    assert ("install a build for CUDA" in out) == (seen is not False)
    assert ("no GPU or other accelerator is seen" in out) == (seen is False)


@needs_files
def test_doctor_names_the_extras_and_what_each_would_bring(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_spec(name: str) -> object:
        if name == "pyarrow":
            return None
        if name.startswith("opentelemetry."):
            raise ModuleNotFoundError(name)  # so it is where the package around it is not there
        return ModuleSpec(name, None, origin="here")

    monkeypatch.setattr("phasescope.capture.backend_selection.diagnose", list)
    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    found = {extra["name"]: extra for extra in json.loads(run("doctor", "--json")[1])["extras"]}
    assert found["parquet"] == {"name": "parquet", "lacks": ["pyarrow"], "brings": "recordings as Parquet"}
    assert len(found["otlp"]["lacks"]) == 2
    assert found["top"]["lacks"] == []
    out = run("doctor")[1]
    assert re.search(r"^top +installed +phasescope top", out, re.MULTILINE)
    assert re.search(r"^parquet +lacks pyarrow +recordings as Parquet$", out, re.MULTILINE)
    assert '→ pip install "phasescope[parquet,fleet,otlp]"' in out


def test_every_extra_of_the_package_is_told() -> None:
    text = (SOURCE.parent / "pyproject.toml").read_text(encoding="utf-8")
    _, _, after = text.partition("[project.optional-dependencies]\n")
    packaged = re.findall(r"^(\w+) = ", after.partition("\n[")[0], re.MULTILINE)
    assert {extra.name for extra in EXTRAS} == set(packaged) - {"all"}
