"""Recordings go both ways between phasescope and Stormlog: with its real releases, each installed beside nothing.

The releases come from the package index once and are kept in the user's cache directory. Without a network and without
that cache these tests fail, rather than say nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import phasescope
from phasescope import (
    attach,
    phase,
    project_telemetry_mapping,
    projected_record_to_dict,
    validate_event,
)
from phasescope.analysis.spans import spans
from support.waiting import CEILING_S

VERSIONS = ("0.3.7", "0.4.3")
SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(scope="module", params=VERSIONS)
def stormlog(request: pytest.FixtureRequest) -> Path:
    """A directory to put on the path. Installed under another name and then renamed: tests may run side by side."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "phasescope-tests"
    installed = home / f"stormlog-{request.param}"
    if not (installed / "stormlog" / "telemetry.py").is_file():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as folder:
            package = f"stormlog=={request.param}"
            pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
            done = subprocess.run(
                [*pip, "--target", f"{folder}/new", package],
                capture_output=True,
                text=True,
                timeout=CEILING_S,
                check=False,
            )
            assert done.returncode == 0, f"{package} cannot be installed: {done.stderr}"
            if not installed.exists():
                Path(folder, "new").rename(installed)
    return installed


def run(stormlog: Path, script: str, *arguments: str | Path) -> str:
    """What the script prints, with that Stormlog on its path."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(stormlog)},
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A session with phases in phases, an exception, attributes, and texts that are not ASCII."""
    path = tmp_path / "run.jsonl"
    with phasescope.start(backends=["cpu"], record=path, rank=0, local_rank=0, job_id="job-1"):
        for index in range(20):
            with phase("epoch", index=index), phase("stép\u2028", share=0.5):
                pass
        with pytest.raises(MemoryError), phase("fails"):
            raise MemoryError
    return path


def test_stormlog_loads_our_recording_and_finds_its_phases(stormlog: Path, recording: Path) -> None:
    theirs = json.loads(run(stormlog, "stormlog_reads.py", recording))
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    with attach(recording) as reader:
        ours = reader.events()
    assert theirs["session_id"] == ours[0]["session_id"]
    assert theirs["events"] == len(lines)
    assert len(lines) == len(ours) + 2  # with the recorder's own notes
    found = sorted([s.scope_id, list(s.path), s.start_ns, s.end_ns, False] for s in spans(ours))
    assert len(found) == 41
    assert theirs["spans"] == found


def test_stormlog_projects_our_recording_as_we_do(stormlog: Path, recording: Path) -> None:
    theirs = json.loads(run(stormlog, "stormlog_reads.py", recording))["records"]
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    ours = [projected_record_to_dict(project_telemetry_mapping(line)) for line in lines]
    if stormlog.name.endswith("0.4.3"):  # it makes version 4 of every event first, which has more in it
        theirs, ours = without_version_4(theirs), without_version_4(ours)
    in_order = sorted(ours, key=lambda record: record["timestamp_ns"])
    assert theirs == in_order


def without_version_4(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is the same in versions 3 and 4: all but the id, which hashes everything, and the capabilities."""
    return [
        {key: value for key, value in record.items() if key not in ("record_id", "attributes")}
        | {"attributes": {k: v for k, v in record["attributes"].items() if k != "memory_capabilities"}}
        for record in records
    ]


def test_stormlogs_own_recordings_load_here(stormlog: Path, tmp_path: Path) -> None:
    run(stormlog, "stormlog_writes.py", tmp_path)
    for source in (tmp_path / "sink", next((tmp_path / "sink").glob("segment-*.jsonl")), tmp_path / "export.json"):
        with attach(source) as reader:
            events = reader.events()
            assert reader.damaged == 0
            assert reader.state == "stopped"
            assert {event["metadata"]["backend"] for event in events} == {"cpu"}
            for event in events:
                validate_event(event)
            summary = reader.summary()
        assert [row.path for row in summary.rows] == [("epoch",), ("epoch", "step")]
        assert [row.count for row in summary.rows] == [1, 1]
        step_ns = summary.rows[1].total_ns
        assert step_ns is not None
        assert step_ns > 40_000_000
        assert summary.devices[0].label == "host"
        assert (summary.devices[0].allocated_bytes or 0) > 1 << 20
