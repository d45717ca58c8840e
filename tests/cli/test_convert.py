"""`phasescope convert`: what it says of what it cannot write."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import cli
from phasescope.recordings.dataset import place_of
from support.commands import Training, needs_files
from support.recordings import steps, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_package_that_is_missing_is_named_with_its_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(write(tmp_path / "a.jsonl", steps(2)))
    packed = str(write(tmp_path / "a.jsonl.zst", steps(2)))
    for module in ("pyarrow", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    for arguments, extra in (
        (["convert", source, str(tmp_path / "b.parquet")], "parquet"),
        (["convert", source, str(tmp_path / "b.jsonl.zst")], "zstd"),
        (["summary", packed], "zstd"),
    ):
        assert cli.main(arguments) == 3
        assert f"pip install 'phasescope[{extra}]'" in capsys.readouterr().err


def test_convert_says_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.jsonl", steps(2))
    other = steps(1)[0] | {"session_id": "other"}
    path.write_bytes(json.dumps(other).encode() + b"\n{}\n" + path.read_bytes())
    assert cli.main(["convert", str(path), str(tmp_path / "b.jsonl.gz")]) == 0
    said = capsys.readouterr().out
    assert "4 events in" in said
    assert "1 damaged place left out" in said
    assert "a.jsonl: line 2: schema_version is missing" in said
    assert f"1 event of session other left out; {path}#other names it" in said


def test_the_file_to_write_may_be_named_as_in_other_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(write(tmp_path / "a.jsonl", steps(2)))
    for arguments in (["-o", str(tmp_path / "b.jsonl.gz"), source], [source, "-o", str(tmp_path / "c.jsonl.gz")]):
        assert cli.main(["convert", *arguments]) == 0
        assert "4 events in" in capsys.readouterr().out
    assert (tmp_path / "b.jsonl.gz").is_file()
    assert (tmp_path / "c.jsonl.gz").is_file()
    assert cli.main(["convert", source]) == 2
    assert f"phasescope convert {source} TO" in capsys.readouterr().err


@needs_files
def test_a_dataset_has_a_folder_for_each_job_host_and_rank(
    run: Callable[..., tuple[int, str, str]], training: Training, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    training.do("forward")
    training.stop()
    folder = tmp_path / "fleet"
    code, out, errors = run("convert", str(training.pid), "--dataset", str(folder))
    assert (code, errors) == (0, "")
    (path,) = folder.rglob("*.parquet")
    job, node, rank = path.relative_to(folder).parts[:3]
    assert (job.partition("=")[0], node.partition("=")[0], rank) == ("job", "node", "r=1")
    with phasescope.attach(str(path)) as reader, phasescope.attach(training.pid, directory=training.directory) as ring:
        assert reader.constants["session_id"] == ring.constants["session_id"] == path.stem
        assert list(reader.iter_events()) == list(ring.iter_events())
    again, out, _ = run("convert", str(training.pid), "--dataset", str(folder))
    assert (again, "is there already" in out) == (0, True)
    code, _, errors = run("convert", str(training.pid), "--dataset", str(folder), "-o", "x.parquet")
    assert (code, "exclude each other" in errors) == (2, True)


@pytest.mark.parametrize("hostile", ["../../etc", "a/b", "..", "", "a=b\n", "x" * 400, "深" * 400, None])
def test_no_constant_leads_out_of_the_dataset(hostile: str | None) -> None:
    place = place_of({"job_id": hostile, "host": hostile, "rank": hostile, "session_id": hostile})
    assert len(place.parts) == 4
    assert ".." not in place.parts
    assert all(len(part) < 255 for part in place.parts)
