"""A training in each real tracker, offline or in a local store: what it holds is compared with the ring."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope.exporters.tracker_points import OTHER, phase_key
from support.commands import interrupted, needs_files, outcome, second_process
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_files

HOSTILE = "x\"} 1\n\x1b[2J/../ä='b\\"
KEY = f"phasescope/peak_allocated_bytes/{phase_key(('step', HOSTILE))}"
SECONDS = KEY.replace("peak_allocated_bytes", "seconds")
STEPS = 40

TRAINING = """
import json, os, sys, time
import phasescope
from phasescope import phase

export = json.loads(os.environ.get("EXPORT", "null"))
with phasescope.start(directory=sys.argv[1], backends=["cpu"], export=export, job_id="7"):
    print("ready", flush=True)
    if export is None:
        sys.stdin.readline()
    for step in range(int(sys.argv[3])):
        with phase("step"), phase(sys.argv[2]):
            time.sleep(0.05)
"""


def from_outside(rings: Path, target: str, **environment: str) -> tuple[int, str, str]:
    """Let `phasescope export --to` log a whole training; its exit code, output and errors."""
    training = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(rings), HOSTILE, str(STEPS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert training.stdin is not None
    assert training.stdout is not None
    assert training.stdout.readline() == "ready\n"
    arguments = (str(training.pid), "--to", target, "--every", "5", "--dir", str(rings))
    exporter = second_process("export", *arguments, env={**os.environ, **environment})
    assert exporter.stdout is not None
    shown = exporter.stdout.readline()
    training.communicate("go\n", timeout=CEILING_S)
    assert training.returncode == 0
    code, out, errors = outcome(exporter)
    return code, shown + out, errors


def from_inside(rings: Path, program: str = TRAINING, export: Any = None, **environment: str) -> None:
    """Run a training that logs itself; it has no word of it."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(rings), HOSTILE, str(STEPS)],
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
        env={**os.environ, **environment, "EXPORT": json.dumps(export)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")


def check(rings: Path, points: list[tuple[int, dict[str, float]]], *, exact: bool = True, whole: bool = True) -> None:
    """Compare what a tracker holds, by step, with the ring; `whole` if no point may be missing."""
    with phasescope.attach(next(rings.glob("*.ring"))) as reader:
        row = next(row for row in reader.summary().rows if row.path[-1] == HOSTILE)
    steps = [step for step, values in points if SECONDS in values]
    assert steps == sorted(set(steps))
    assert len(steps) >= 2
    assert steps[-1] == row.count == STEPS
    peaks = [values[KEY] for _, values in points if KEY in values]
    assert max(peaks) == pytest.approx(row.peak_allocated_bytes, rel=0.2 if not whole else 0 if exact else 1e-6)
    total_s = sum(
        values[SECONDS] * (step - before)
        for (step, values), before in zip([each for each in points if SECONDS in each[1]], [0, *steps], strict=False)
    )
    assert total_s == pytest.approx((row.total_ns or 0) / 1e9, rel=1e-3 if whole else 0.5)
    assert any("phasescope/used_bytes/host" in values for _, values in points)


# TensorBoard


def tensorboard_points(folder: Path) -> tuple[list[tuple[int, dict[str, float]]], list[str]]:
    """Return the scalars by step, and the texts, as TensorBoard's own reader has them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (path,) = folder.glob("phasescope-*")
    read = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
    read.Reload()
    points: dict[int, dict[str, float]] = {}
    for tag in read.Tags()["scalars"]:
        for event in read.Scalars(tag):
            points.setdefault(event.step, {})[tag] = event.value
    texts = [event.tensor_proto.string_val[0].decode() for tag in read.Tags()["tensors"] for event in read.Tensors(tag)]
    assert (path / "phasescope-report.html").read_text("utf-8").startswith("<!doctype html>")
    assert "step" in (path / "phasescope-summary.txt").read_text("utf-8")
    return sorted(points.items()), texts


@pytest.mark.parametrize("inside", [False, True])
def test_tensorboard_has_what_the_ring_says(rings: Path, tmp_path: Path, inside: bool) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed; `make test-trackers` does it")
    folder = tmp_path / "runs"
    if inside:
        from_inside(rings, export={"tensorboard": str(folder), "every_steps": 5})
    else:
        code, out, errors = from_outside(rings, f"tensorboard={folder}")
        assert (code, errors) == (0, "")
        assert f"writing to {folder}" in out
    points, (text,) = tensorboard_points(folder)
    check(rings, points, exact=False)  # its scalars are floats of 32 bits
    assert "step" in text


def test_the_writer_of_tensorboard_does_not_bring_tensorflow() -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed; `make test-trackers` does it")
    code = "import sys, phasescope.exporters.to_tensorboard; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=CEILING_S, check=True)
    assert done.stdout == "False\n"


# MLflow


def mlflow_points(uri: str, run: Any) -> list[tuple[int, dict[str, float]]]:
    from mlflow.tracking import MlflowClient

    client, points = MlflowClient(tracking_uri=uri), dict[int, dict[str, float]]()
    for key in run.data.metrics:
        for metric in client.get_metric_history(run.info.run_id, key):
            points.setdefault(metric.step, {})[key] = metric.value
    return sorted(points.items())


MLFLOW_TRAINING = f"""
import mlflow
with mlflow.start_run():
    mlflow.log_metric("loss", 1.0, step=7)
    {TRAINING.replace(chr(10), chr(10) + "    ")}
"""


@pytest.mark.parametrize("inside", [False, True])
def test_mlflow_has_what_the_ring_says(
    rings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed; `make test-trackers` does it")
    uri = f"file:{tmp_path / 'mlruns'}"
    # The small package has no database; the store of files has to be asked for.
    settings = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "mine"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    if inside:
        monkeypatch.setenv("PYTHONWARNINGS", "ignore")
        import mlflow

        mlflow.set_tracking_uri(uri)
        mlflow.create_experiment("mine")
        from_inside(rings, MLFLOW_TRAINING, {"mlflow": "", "every_steps": 5})
    else:
        code, out, errors = from_outside(rings, f"mlflow={uri}", PYTHONWARNINGS="ignore")
        assert (code, errors) == (0, "")
        assert "logging to MLflow" in out
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    points = mlflow_points(uri, run)
    if inside:
        assert run.data.metrics["loss"] == 1.0
        points = [each for each in points if "loss" not in each[1]]
    check(rings, points)
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id, "phasescope")}
    assert artifacts == {"phasescope/summary.txt", "phasescope/report.html"}


# Weights & Biases


def wandb_records(folder: Path) -> list[Any]:
    """Return the records of the only run that lies there, as it was written offline."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    records = []
    for data in _in_blocks(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        records.append(record)
    return records


def _in_blocks(data: bytes) -> Iterator[bytes]:
    """Yield the records of a log in blocks of 32 KiB: each piece has a checksum, a length and a kind in front."""
    place, whole = 7, b""  # behind the file's own header
    while place + 7 <= len(data):
        if place % 32768 > 32768 - 7:
            place += 32768 - place % 32768  # the rest of a block has no room for a piece
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # all of a record, or its last piece
            yield whole
            whole = b""


def history(records: list[Any]) -> list[dict[str, Any]]:
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]


WANDB_TRAINING = f"""
import os, wandb
settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
run = wandb.init(project="mine", mode="offline", settings=settings)
{TRAINING.replace("time.sleep(0.05)", "time.sleep(0.05); run.log(dict(loss=step))")}
run.finish()
"""


@pytest.mark.parametrize("inside", [False, True])
def test_weights_and_biases_has_what_the_ring_says(rings: Path, tmp_path: Path, inside: bool) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed; `make test-trackers` does it")
    settings = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}
    if inside:
        from_inside(rings, WANDB_TRAINING, {"wandb": "", "every_steps": 5}, **settings)
    else:
        code, out, errors = from_outside(rings, "wandb=mine", **settings)
        assert (code, errors) == (0, "")
        assert "project mine" in out
    records = wandb_records(tmp_path)
    logged = history(records)
    if inside:  # the training's own steps are what they would be without
        assert [line["loss"] for line in logged if "loss" in line] == list(range(STEPS))
    points = [(line["phasescope/step"], line) for line in logged if "phasescope/step" in line]
    check(rings, points, whole=not inside)  # of several in one line of the training's the last stands
    kinds = [record.WhichOneof("record_type") for record in records]
    requests = [record.request.WhichOneof("request_type") for record in records if record.request is not None]
    assert "artifact" in kinds or "log_artifact" in requests


def test_without_a_key_nobody_is_asked_for_one(rings: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed; `make test-trackers` does it")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    settings = {"NETRC": str(tmp_path / "none"), "HOME": str(tmp_path), "WANDB_DIR": str(tmp_path)}
    process = second_process("export", "--all", "--to", "wandb", "--dir", str(rings), env={**environment, **settings})
    code, _, errors = outcome(process)
    assert (code, "WANDB_MODE=offline" in errors) == (1, True)
    assert "deprecated" not in errors


@pytest.mark.parametrize("place", ["WANDB_API_KEY", "NETRC"])
def test_a_key_is_found_where_it_lies_and_nothing_is_printed(rings: Path, tmp_path: Path, place: str) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed; `make test-trackers` does it")
    key, netrc = "5ec4e7" * 7, tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1:9 login user password {key[:40]}\n" if place == "NETRC" else "")
    netrc.chmod(0o600)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    settings = {"NETRC": str(netrc), "HOME": str(tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:9"}
    settings["WANDB_DIR"] = str(tmp_path)  # or its files stay in the current directory
    if place != "NETRC":
        settings[place] = key[:40]
    process = second_process("export", "--all", "--to", "wandb", "--dir", str(rings), env={**environment, **settings})
    assert process.stdout is not None
    assert process.stdout.readline() == "logging to Weights & Biases, project phasescope\n"
    code, out, errors = interrupted(process)
    assert (code, errors) == (0, "")
    assert key[:40] not in out


# The keys


PATHS = [
    *(("a", HOSTILE), ("..",), ("",), (".hidden",), ("a b",), ("x" * 300,), ("ä",), ("a/b",), (OTHER,), ("a",) * 200),
    *(("a", "b"), ("a.b",), ("a_b",), ("a\nb",), ("x" * 61,), ("x" * 60,), ("_",), (".",), ("a",) * 199),
]


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_every_tracker_can_hold_the_key_of_any_phase(path: tuple[str, ...]) -> None:
    key = phase_key(path)
    assert re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", key)
    assert len(key) <= 200


def test_no_two_phases_have_one_key() -> None:
    assert len({phase_key(path) for path in PATHS} | {OTHER}) == len(PATHS) + 1
    assert phase_key(("epoch", "forward-pass_1")) == "epoch.forward-pass_1"
