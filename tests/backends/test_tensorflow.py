"""TensorFlow's allocators over a fake with GPUs; the real ones are in test_backend_frameworks.py."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from phasescope.backends import cuda_driver
from phasescope.backends.protocol import HOST_DEVICE, DeviceCounters, DeviceIdentity
from phasescope.backends.tensorflow import Tensorflow
from support.fakes.fake_tensorflow import FakeContext, FakeTensorflow
from support.fakes.processes import in_forked_child

if TYPE_CHECKING:
    from phasescope.backends.protocol import Backend

MIB = 2**20
GPU = "/device:GPU:{}"
pytestmark = pytest.mark.neutral


@pytest.fixture
def tensorflow(monkeypatch: pytest.MonkeyPatch) -> FakeTensorflow:
    return FakeTensorflow().install(monkeypatch)


class TestReady:
    def test_it_is_once_the_training_created_the_context(self, tensorflow: FakeTensorflow) -> None:
        backend: Backend = Tensorflow()
        tensorflow.context._initialized = False
        assert not backend.ready()
        for ask in (backend.allocator, backend.identity):
            with pytest.raises(RuntimeError, match="no eager context"):
                ask(0)
        assert tensorflow.context.initialisations == 0
        tensorflow.context._initialized = True
        assert backend.ready()

    def test_it_says_which_variables_it_waits_for(
        self, tensorflow: FakeTensorflow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context = vars(tensorflow.module).pop("_context")
        backend = Tensorflow()
        [(namespace, name)] = backend.awaited() or ()
        assert name not in namespace
        context._initialized = False
        namespace[name] = context
        _, (namespace, name) = backend.awaited() or ()
        assert namespace[name] is False
        context._initialized = True
        assert namespace[name] is True
        monkeypatch.delitem(sys.modules, tensorflow.module.__name__)
        assert backend.awaited() == ()

    def test_it_is_not_while_tensorflow_is_missing_or_being_imported(
        self, tensorflow: FakeTensorflow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vars(tensorflow.module)["_context"] = None
        assert not Tensorflow().ready()
        del vars(tensorflow.module)["_context"]
        assert not Tensorflow().ready()
        monkeypatch.delitem(sys.modules, tensorflow.module.__name__)
        assert not Tensorflow().ready()

    def test_it_is_not_where_no_device_tells_what_it_holds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A machine without accelerators, and a processor for which TensorFlow does not use oneDNN."""
        FakeTensorflow(["/device:CPU:0"]).install(monkeypatch)
        assert not Tensorflow().ready()

    def test_a_new_context_is_looked_at_anew(self, tensorflow: FakeTensorflow) -> None:
        backend = Tensorflow()
        assert list(backend.devices()) == [0, 1]
        tensorflow.renew(["/device:CPU:0", "/device:GPU:0"])
        assert list(backend.devices()) == [0]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    def test_a_forked_child_is_refused(self, tensorflow: FakeTensorflow) -> None:
        backend = Tensorflow()
        assert backend.ready()
        assert in_forked_child(backend.ready) is False


class TestDevices:
    def test_ids_are_the_numbers_of_the_gpus_and_the_host_has_its_own(self, tensorflow: FakeTensorflow) -> None:
        tensorflow.context.use("/device:CPU:0", 5)
        tensorflow.context.use("/device:GPU:1", 7)
        backend = Tensorflow()
        assert list(backend.devices()) == [0, 1, HOST_DEVICE]
        assert backend.allocator(1) == (7, 0, None, None)
        assert backend.allocator(HOST_DEVICE) == (5, 0, None, None)
        assert "allocator_reserved_bytes" in backend.unavailable
        assert backend.device(1) == DeviceCounters()

    def test_pluggable_devices_are_devices_by_their_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = ["/device:CPU:0", "/device:XPU:0", "/device:XPU:1"]
        fake = FakeTensorflow(names).install(monkeypatch)
        fake.context.use("/device:XPU:1", 9)
        backend = Tensorflow()
        assert [backend.allocator(device)[0] for device in backend.devices()] == [0, 9]

    def test_those_of_other_processes_of_a_cluster_and_those_without_memory_are_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = "/job:worker/replica:0/task:{}/device:GPU:0"
        fake = FakeTensorflow([job.format(0), job.format(1), "/device:TPU_SYSTEM:0"]).install(monkeypatch)
        fake.context._collective_ops_server_def = type("ServerDef", (), {"job_name": "worker", "task_index": 1})()
        fake.context.use(job.format(1), 3)
        backend = Tensorflow()
        assert [backend.allocator(device)[0] for device in backend.devices()] == [3]

    def test_the_current_one_is_that_of_the_device_scope(self, tensorflow: FakeTensorflow) -> None:
        tensorflow.context.use("/device:CPU:0", 5)
        backend = Tensorflow()
        found = []
        for name in (None, "", "/job:localhost/replica:0/task:0/device:GPU:1", "/device:CPU:0", "/device:GPU:7", "?"):
            tensorflow.context.device_name = name
            found.append(backend.current_device())
        assert found == [0, 0, 1, 0, 0, 0]

    def test_phases_speak_of_the_hosts_allocator_only_where_it_was_asked_for(
        self, tensorflow: FakeTensorflow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with_gpus = Tensorflow()
        assert with_gpus.ready()
        assert with_gpus.leads()
        fake = FakeTensorflow(["/device:CPU:0"]).install(monkeypatch)
        fake.context.use("/device:CPU:0", 5)
        backend = Tensorflow()
        assert backend.ready()
        assert not backend.leads()
        backend.asked_for = True
        assert backend.leads()
        assert backend.current_device() == HOST_DEVICE


class TestPeaks:
    def test_they_are_tensorflows_own(self, tensorflow: FakeTensorflow) -> None:
        backend = Tensorflow()
        tensorflow.context.use(GPU.format(1), 9 * MIB)
        tensorflow.context.use(GPU.format(1), 4 * MIB)
        assert backend.peak(1) == 9 * MIB
        backend.reset_peak(1)
        assert backend.peak(1) == 4 * MIB


class TestIdentity:
    @pytest.fixture(autouse=True)
    def driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cuda_driver, "identity", lambda ordinal: DeviceIdentity(f"GPU-{ordinal}", None))

    def found(self, *devices: int) -> list[str | None]:
        identities = [Tensorflow().identity(device) for device in devices]
        return [None if identity is None else identity.uuid for identity in identities]

    def test_it_is_that_of_the_gpu_behind_the_number(self, tensorflow: FakeTensorflow) -> None:
        assert self.found(0, 1) == ["GPU-0", "GPU-1"]

    def test_hidden_and_split_gpus_are_counted_as_tensorflow_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = [GPU.format(number) for number in range(3)]
        fake = FakeTensorflow(names, visible=[1, 3]).install(monkeypatch)
        fake.context.splits = {1: 2}
        assert self.found(0, 1, 2) == ["GPU-1", "GPU-1", "GPU-3"]

    def test_other_builds_and_the_host_have_none(
        self, tensorflow: FakeTensorflow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tensorflow.context.use("/device:CPU:0", 5)
        assert self.found(HOST_DEVICE) == [None]
        FakeTensorflow(cuda=False).install(monkeypatch)
        assert self.found(0) == [None]


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="tensorflow is not installed here")
def test_the_fake_has_the_signatures_of_the_installed_tensorflow() -> None:
    """Read from its source: importing it takes four seconds."""
    spec = importlib.util.find_spec("tensorflow")
    assert spec is not None
    assert spec.origin is not None
    source = (Path(spec.origin).parent / "python/eager/context.py").read_text(encoding="utf-8")
    assert "\n_context = None" in source
    [context] = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "Context"]
    real = {n.name: [a.arg for a in n.args.args] for n in context.body if isinstance(n, ast.FunctionDef)}
    faked = {name: value for name, value in vars(FakeContext).items() if inspect.isfunction(value)}
    for name in set(faked) - {"__init__", "use", "_ensure"}:
        assert list(inspect.signature(faked[name]).parameters) == real.get(name), name
    for name in ("_initialized", "_server_def", "_collective_ops_server_def"):
        assert f"self.{name} = " in source
    assert "device_name" in real
