"""Where a session runs, by the environments that Kubernetes, OpenTelemetry's operator and Slurm really make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope.capture.cluster_names import cluster_names

if TYPE_CHECKING:
    from pathlib import Path

POD = "KUBERNETES_SERVICE_HOST=10.96.0.1 HOSTNAME=train-0"
SLURM = "SLURM_JOB_ID=71 SLURM_JOB_NAME=bert SLURM_STEP_ID=0 SLURM_CLUSTER_NAME=big SLURM_JOB_PARTITION=gpu"

ENVIRONMENTS = {
    "a laptop": ("POD_NAME=x NODE_NAME=y HOSTNAME=z", {}),
    "a pod that was names nothing": (POD, {"k8s.namespace.name": "research"}),
    "a pod with the variables of Kubernetes' examples": (
        f"{POD} MY_POD_NAME=train-0 MY_NODE_NAME=n7 MY_POD_NAMESPACE=mine",
        {"k8s.pod.name": "train-0", "k8s.node.name": "n7", "k8s.namespace.name": "mine"},
    ),
    "OpenTelemetry's operator": (
        f"{POD} OTEL_RESOURCE_ATTRIBUTES_POD_NAME=train-0 OTEL_RESOURCE_ATTRIBUTES_NODE_NAME=n7"
        " OTEL_RESOURCE_ATTRIBUTES=k8s.container.name=torch,k8s.job.name=bert%20large,k8s.pod.label.x=y,team=z",
        {
            "k8s.pod.name": "train-0",
            "k8s.node.name": "n7",
            "k8s.namespace.name": "research",
            "k8s.container.name": "torch",
            "k8s.job.name": "bert large",
        },
    ),
    "srun": (
        SLURM,
        {
            "slurm.job.id": "71",
            "slurm.job.name": "bert",
            "slurm.step.id": "0",
            "slurm.cluster.name": "big",
            "slurm.partition": "gpu",
        },
    ),
    "a task of an array": (
        "SLURM_JOB_ID=72 SLURM_ARRAY_JOB_ID=71 SLURM_ARRAY_TASK_ID=1 SLURMD_NODENAME=n7",
        {"slurm.job.id": "72", "slurm.array.job_id": "71", "slurm.array.task_id": "1", "slurm.node.name": "n7"},
    ),
    "attributes that are none": (
        "OTEL_RESOURCE_ATTRIBUTES=k8s.pod.name,k8s.x=,=y,,k8s.pod.uid=1=2",
        {"k8s.pod.uid": "1=2"},
    ),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_it_is_what_the_environment_says(name: str, tmp_path: Path) -> None:
    variables, expected = ENVIRONMENTS[name]
    (tmp_path / "namespace").write_text("research\n")
    pairs = (each.partition("=") for each in variables.split(" "))
    assert cluster_names({key: value for key, _, value in pairs}, tmp_path / "namespace") == expected


def test_it_is_bounded(tmp_path: Path) -> None:
    many = ",".join(f"k8s.{number}={'x' * 1000}" for number in range(1000))
    names = cluster_names({"OTEL_RESOURCE_ATTRIBUTES": many}, tmp_path / "none")
    assert len(names) <= 32
    assert max(map(len, names.values())) <= 200
    assert cluster_names({"KUBERNETES_SERVICE_HOST": "x"}, tmp_path) == {}  # a directory, and no file


def test_a_session_says_it_whatever_bytes_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    monkeypatch.setenv("SLURM_JOB_NAME", '\udcff"')
    with phasescope.start(directory=tmp_path, backends=["cpu"]), phasescope.attach(next(tmp_path.iterdir())) as reader:
        names = reader.constants["resource"]
    assert names["slurm.job.name"] == '\\udcff"'
