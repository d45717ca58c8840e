"""Who a process is in its job, by the environments that launchers really make."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasescope.analysis.jobs.grouping import group
from phasescope.wire.event import Identity, resolve_identity

_STATIC = "RANK=3 LOCAL_RANK=1 WORLD_SIZE=4 MASTER_ADDR={} MASTER_PORT=29500 TORCHELASTIC_RUN_ID=none"
_BATCH = "SLURM_JOB_ID=71 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=4 SLURM_NNODES=2"
_STEP = "SLURM_JOB_ID=71 SLURM_STEP_ID={} SLURM_PROCID=3 SLURM_LOCALID=1 SLURM_NTASKS=4 SLURM_STEP_NUM_TASKS=4"
_NODE_STEP = "SLURM_JOB_ID=71 SLURM_STEP_ID={} SLURM_PROCID={} SLURM_LOCALID=0 SLURM_NTASKS={} SLURM_STEP_NUM_TASKS={}"

ENVIRONMENTS = {
    "torchrun --rdzv-id": (f"{_STATIC.format('node-1')} TORCHELASTIC_RUN_ID=mine", ("mine", 3, 1, 4)),
    "torchrun --node-rank, a launcher of DeepSpeed or accelerate": (
        _STATIC.format("10.0.0.1"),
        ("10.0.0.1:29500", 3, 1, 4),
    ),
    "torchrun on one host": (_STATIC.format("127.0.0.1"), ("none", 3, 1, 4)),
    "Composer on one host": ("RANK=3 LOCAL_RANK=1 WORLD_SIZE=4 MASTER_ADDR=localhost MASTER_PORT=1", (None, 3, 1, 4)),
    "a PyTorchJob's pod": (
        "RANK=3 WORLD_SIZE=4 MASTER_ADDR=bert-master-0 MASTER_PORT=23456 HOSTNAME=bert-worker-2",
        ("bert-master-0:23456", 3, 3, 4),
    ),
    "Ray Train": (
        "RANK=3 LOCAL_RANK=1 WORLD_SIZE=4 MASTER_ADDR=192.0.2.2 MASTER_PORT=46749 RAY_JOB_ID=01000000",
        ("192.0.2.2:46749", 3, 1, 4),
    ),
    "LSF's jsrun": (
        "JSM_NAMESPACE_RANK=3 JSM_NAMESPACE_LOCAL_RANK=1 JSM_NAMESPACE_SIZE=4 LSB_JOBID=71 PMIX_NAMESPACE=9",
        ("71", 3, 1, 4),
    ),
    "SkyPilot with torchrun": (
        f"{_STATIC.format('10.0.0.1')} SKYPILOT_NODE_RANK=1 SKYPILOT_NUM_NODES=2 SKYPILOT_TASK_ID=sky-7_train_1-0",
        ("10.0.0.1:29500", 3, 1, 4),
    ),
    "an indexed Job of Kubernetes, whose pods are told no world size": (
        "JOB_COMPLETION_INDEX=3 KUBERNETES_SERVICE_HOST=10.96.0.1 HOSTNAME=train-workers-0-3-x7",
        (None, 0, 0, 1),
    ),
    "a task of Volcano, whose plugin tells an index only": ("VC_TASK_INDEX=3 VK_TASK_INDEX=3", (None, 0, 0, 1)),
    "a Ray actor": ("RAY_JOB_ID=ffffffff RAY_RAYLET_PID=20845", (None, 0, 0, 1)),
    "srun": (_STEP.format(0), ("71", 3, 1, 4)),
    "the second srun in a job": (_STEP.format(1), ("71.1", 3, 1, 4)),
    "srun, its variables given torch's names": (
        f"{_STEP.format(2)} RANK=3 LOCAL_RANK=1 WORLD_SIZE=4 MASTER_ADDR=n1 MASTER_PORT=29500",
        ("71", 3, 1, 4),
    ),
    "mpirun, Open MPI, whose daemon is the first task of a step": (
        f"OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_LOCAL_RANK=0 OMPI_COMM_WORLD_SIZE=2 {_NODE_STEP.format(3, 0, 2, 2)}",
        ("71", 0, 0, 2),
    ),
    "sbatch without srun": (_BATCH, ("71", 0, 0, 1)),
    "salloc's shell": (f"{_BATCH} SLURM_STEP_ID=4294967290 SLURM_STEP_NUM_TASKS=1", ("71", 0, 0, 1)),
    "torchrun under srun": (
        f"{_STATIC.format('n1')} {_NODE_STEP.format(0, 1, 2, 2)}",
        ("71", 3, 1, 4),
    ),
    "torchrun in an srun for each node": (
        f"{_STATIC.format('n1')} {_NODE_STEP.format(3, 0, 1, 1)}",
        ("71", 3, 1, 4),
    ),
    "mpirun, Open MPI": (
        "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_SIZE=4 PMIX_RANK=3"
        " PMIX_NAMESPACE=231014401",
        ("231014401", 3, 1, 4),
    ),
    "mpirun, MPICH or Intel MPI": ("PMI_RANK=3 PMI_SIZE=4 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=2", (None, 3, 1, 4)),
    "mpirun, Intel MPI, by daemons that srun started": (
        f"PMI_RANK=3 PMI_SIZE=4 MPI_LOCALRANKID=1 {_NODE_STEP.format(0, 1, 2, 2)}",
        ("71", 3, 1, 4),
    ),
    "mpiexec, PALS": ("PMI_RANK=3 PMI_SIZE=4 PMI_LOCAL_RANK=1 PALS_APID=5f PBS_JOBID=9.pbs", ("9.pbs", 3, 1, 4)),
    "horovodrun": (
        "HOROVOD_RANK=3 HOROVOD_LOCAL_RANK=1 HOROVOD_SIZE=4 HOROVOD_GLOO_RENDEZVOUS_ADDR=10.0.0.1"
        " HOROVOD_GLOO_RENDEZVOUS_PORT=1234",
        ("10.0.0.1:1234", 3, 1, 4),
    ),
    "flux run": ("FLUX_TASK_RANK=3 FLUX_TASK_LOCAL_ID=1 FLUX_JOB_SIZE=4 FLUX_JOB_ID=f9", ("f9", 3, 1, 4)),
    "a script that will start its ranks itself": ("MASTER_ADDR=n1 MASTER_PORT=29500", (None, 0, 0, 1)),
    "an indexed Job's pod": ("JOB_COMPLETION_INDEX=3 HOSTNAME=job-3", (None, 0, 0, 1)),
}


def environment(text: str) -> dict[str, str]:
    return dict(setting.split("=", 1) for setting in text.split())


@pytest.mark.parametrize("launcher", ENVIRONMENTS)
def test_each_launcher_tells_the_rank_and_the_job(launcher: str) -> None:
    text, expected = ENVIRONMENTS[launcher]
    assert resolve_identity(environ=environment(text)) == expected


def _of_tensorflow(kind: str, index: int, *, chief: bool = True, host: str = "tf-{}") -> dict[str, str]:
    hosts = [f"{host.format(number)}:2222" for number in range(3)]
    cluster = {"chief": hosts[:1], "worker": hosts[1:], "ps": ["p:1"]} if chief else {"worker": hosts}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_tensorflows_workers_are_ranks_behind_their_chief_and_others_are_none() -> None:
    told = [resolve_identity(environ=_of_tensorflow(*task)) for task in (("chief", 0), ("worker", 0), ("worker", 1))]
    assert told == [Identity("tf-0:2222", rank, rank, 3) for rank in range(3)]
    assert resolve_identity(environ=_of_tensorflow("worker", 2, chief=False)) == ("tf-0:2222", 2, 2, 3)
    assert resolve_identity(environ=_of_tensorflow("worker", 1, host="localhost"))[:2] == (None, 1 + 1)
    for kind, index in (("ps", 0), ("evaluator", 0), ("worker", 2), ("worker", -1)):
        assert resolve_identity(environ=_of_tensorflow(kind, index)) == (None, 0, 0, 1)


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3), lambda each: st.lists(each, max_size=2), max_leaves=4
)


@given(
    st.text()
    | st.builds(
        lambda cluster, task: json.dumps({"cluster": cluster, "task": task}),
        JSON | st.dictionaries(st.sampled_from(["chief", "worker"]), JSON),
        JSON | st.fixed_dictionaries({"type": JSON | st.just("worker"), "index": JSON}),
    )
)
def test_no_tf_config_raises(text: str) -> None:
    assert resolve_identity(environ={"TF_CONFIG": text}).world_size >= 1


def _sessions(*texts: str) -> list[dict[str, object]]:
    return [
        {"host": "h", "started_ns": number, **resolve_identity(environ=environment(text))._asdict()}
        for number, text in enumerate(texts)
    ]


def test_steps_of_one_slurm_job_that_start_at_once_are_not_taken_for_each_others_ranks() -> None:
    first, second = ([_NODE_STEP.format(step, rank, 2, 2) for rank in range(2)] for step in (1, 2))
    interleaved = [first[0], second[0], first[1], second[1]]
    assert sorted(group(_sessions(*interleaved))) == [[0, 2], [1, 3]]


def test_hosts_that_meet_at_an_address_are_one_job_and_loopback_is_a_job_for_each() -> None:
    def job(address: str) -> list[list[int]]:
        common = f"WORLD_SIZE=4 TORCHELASTIC_RUN_ID=none MASTER_ADDR={address} MASTER_PORT=29500"
        sessions = _sessions(*(f"RANK={rank} LOCAL_RANK={rank % 2} {common}" for rank in range(4)))
        return group({**each, "host": f"node-{number // 2}"} for number, each in enumerate(sessions))

    assert job("10.0.0.1") == [[0, 1, 2, 3]]
    assert sorted(job("127.0.0.1")) == [[0, 1], [2, 3]]
