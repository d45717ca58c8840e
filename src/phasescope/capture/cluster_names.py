"""Where a session runs, as its cluster calls it: Kubernetes' and Slurm's names, from the training's own environment.

An exporter is another process, on Kubernetes often in another pod: what its environment says is not the training's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_KUBERNETES: Final = {
    "k8s.pod.name": "OTEL_RESOURCE_ATTRIBUTES_POD_NAME K8S_POD_NAME POD_NAME MY_POD_NAME",
    "k8s.pod.uid": "OTEL_RESOURCE_ATTRIBUTES_POD_UID K8S_POD_UID POD_UID MY_POD_UID",
    "k8s.namespace.name": "OTEL_RESOURCE_ATTRIBUTES_POD_NAMESPACE K8S_NAMESPACE_NAME POD_NAMESPACE MY_POD_NAMESPACE",
    "k8s.node.name": "OTEL_RESOURCE_ATTRIBUTES_NODE_NAME K8S_NODE_NAME NODE_NAME MY_NODE_NAME",
}
"""By the variables that OpenTelemetry's operator sets, and those that Kubernetes' examples call so."""

_SLURM: Final = {
    "slurm.cluster.name": "SLURM_CLUSTER_NAME",
    "slurm.partition": "SLURM_JOB_PARTITION",
    "slurm.job.id": "SLURM_JOB_ID",
    "slurm.job.name": "SLURM_JOB_NAME",
    "slurm.step.id": "SLURM_STEP_ID",
    "slurm.array.job_id": "SLURM_ARRAY_JOB_ID",
    "slurm.array.task_id": "SLURM_ARRAY_TASK_ID",
    "slurm.node.name": "SLURMD_NODENAME",
}

_IN_A_POD: Final = "KUBERNETES_SERVICE_HOST"
_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_OF_THE_PERSON: Final = (".annotation.", ".label.")
_MOST: Final = 32
_LONGEST: Final = 200


def cluster_names(environ: Mapping[str, str], namespace: Path = _NAMESPACE) -> dict[str, str]:
    """Return what the environment says, by OpenTelemetry's names; empty if it is of neither.

    The name of a host is not taken for that of a pod: a pod may have its node's. `namespace` is the file in which
    Kubernetes names a pod's namespace.
    """
    names = _named(environ, _SLURM) if environ.get("SLURM_JOB_ID") else {}
    if environ.get(_IN_A_POD):
        names |= {"k8s.namespace.name": text} if (text := _text_in(namespace)) else {}
        names |= _named(environ, _KUBERNETES)
    names |= dict(_attributes(environ.get("OTEL_RESOURCE_ATTRIBUTES", "")))
    return dict(list(names.items())[:_MOST])


def _named(environ: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    values = {
        key: next((text for name in some.split() if (text := environ.get(name))), "") for key, some in names.items()
    }
    return {key: text[:_LONGEST] for key, text in values.items() if text}


def _attributes(text: str) -> Iterator[tuple[str, str]]:
    """Yield those of `k8s.pod.name=train-0,team=a` that say where it runs."""
    if "k8s." not in text and "slurm." not in text:
        return
    from urllib.parse import unquote  # which few starts need

    for pair in text.split(","):
        key, is_given, value = pair.partition("=")
        key, value = key.strip(), unquote(value.strip().strip('"'))
        if (
            is_given
            and value
            and key.startswith(("k8s.", "slurm."))
            and not any(part in key for part in _OF_THE_PERSON)
        ):
            yield key[:_LONGEST], value[:_LONGEST]


def _text_in(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(_LONGEST).strip()
    except (OSError, ValueError):
        return ""
