"""The torch backend over a fake with devices, and over the real torch of this machine."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.backends import torch_timing
from phasescope.backends.protocol import DeviceCounters, DeviceIdentity
from phasescope.backends.torch_cuda import Cuda, Rocm
from phasescope.capture.measurements import DeviceTimer
from support.fakes.fake_cuda import GIB, UUIDS, FakeCuda, without_torch
from support.fakes.processes import in_forked_child, in_new_python
from support.torch_files import torch_source

if TYPE_CHECKING:
    from types import ModuleType

    from phasescope.backends.protocol import Backend

MIB = 1024 * 1024
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
pytestmark = pytest.mark.neutral


class TestReady:
    def test_it_is_once_the_training_initialised_the_device(self, cuda: FakeCuda) -> None:
        cuda.initialised = False
        backend: Backend = Cuda()
        assert not backend.ready()
        cuda.initialised = True
        assert backend.ready()

    def test_looking_initialises_nothing(self, cuda: FakeCuda) -> None:
        cuda.initialised = False
        backend = Cuda()
        assert not backend.ready()
        for ask in (backend.devices, backend.current_device):
            with pytest.raises(RuntimeError, match="not initialised in this process"):
                ask()
        for ask_of in (backend.allocator, backend.device, backend.identity):
            with pytest.raises(RuntimeError, match="not initialised in this process"):
                ask_of(0)
        assert cuda.initialisations == 0
        assert not cuda.initialised

    def test_each_kind_of_build_has_its_own_backend(self, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
        assert (Cuda().ready(), Rocm().ready()) == (True, False)
        FakeCuda(hip="6.4.43482").install(monkeypatch)
        assert (Cuda().ready(), Rocm().ready()) == (False, True)

    def test_a_cpu_build_is_never_asked_again(self, cuda: FakeCuda) -> None:
        count = vars(cuda.core).pop("_cuda_getDeviceCount")
        backend = Cuda()
        assert not backend.ready()
        vars(cuda.core)["_cuda_getDeviceCount"] = count
        assert not backend.ready()
        assert Cuda().ready()

    def test_it_waits_for_an_import_of_torch_that_is_under_way(self, cuda: FakeCuda) -> None:
        torch: Any = sys.modules["torch"]
        count = vars(cuda.core).pop("_cuda_getDeviceCount")
        torch.__spec__._initializing = True
        backend = Cuda()
        assert not backend.ready()
        vars(cuda.core)["_cuda_getDeviceCount"] = count
        torch.__spec__._initializing = False
        assert backend.ready()

    def test_it_says_which_flag_it_waits_for(self, cuda: FakeCuda) -> None:
        cuda.initialised = False
        backend = Cuda()
        awaited = backend.awaited()
        assert awaited is not None
        assert [namespace[name] for namespace, name in awaited] == [False]
        cuda.initialised = True
        assert [namespace[name] for namespace, name in awaited] == [True]
        assert Rocm().awaited() == ()  # never
        del vars(cuda.cuda)["_initialized"]
        assert backend.awaited() is None

    def test_it_does_not_say_while_torch_is_imported(self, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
        torch: Any = sys.modules["torch"]
        torch.__spec__._initializing = True
        assert Cuda().awaited() is None
        torch.__spec__._initializing = False
        assert Cuda().awaited()
        monkeypatch.delitem(sys.modules, "torch")
        assert Cuda().awaited() == ()

    @pytest.mark.parametrize("missing", ["torch", "torch._C", "torch.cuda", "torch.version"])
    def test_a_torch_of_which_a_part_is_missing_is_not_ready(
        self, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch, missing: str
    ) -> None:
        backend = Cuda()
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, missing)
            assert not backend.ready()
        assert backend.ready()

    def test_an_import_of_torch_that_was_forbidden_is_not_ready(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without_torch(monkeypatch)
        monkeypatch.setitem(sys.modules, "torch", None)
        assert not Cuda().ready()


class TestCounters:
    def test_they_are_those_of_all_pools(self, cuda: FakeCuda) -> None:
        cuda.use(1, allocated=300 * MIB, reserved=512 * MIB, active=310 * MIB, split=50 * MIB)
        assert Cuda().allocator(1)[:4] == (300 * MIB, 512 * MIB, 310 * MIB, 50 * MIB)
        assert Cuda().allocator(0)[:4] == (0, 0, 0, 0)

    def test_counts_come_with_them_once_and_when_they_have_changed(self, cuda: FakeCuda) -> None:
        backend = Cuda()
        cuda.use(1, allocated=GIB, reserved=4 * GIB)
        first = {"num_alloc_retries": 0, "num_ooms": 0, "num_device_alloc": 1, "num_device_free": 0}
        assert backend.allocator(1)[4:] == (first,)
        assert backend.allocator(1) == (GIB, 4 * GIB, 0, 0)
        assert len(backend.allocator(0)) == 5
        cuda.retry(1, reserved=2 * GIB)
        then = {"num_alloc_retries": 1, "num_ooms": 0, "num_device_alloc": 2, "num_device_free": 1}
        assert backend.allocator(1)[4:] == (then,)
        assert len(backend.allocator(1)) == 4

    def test_counts_that_this_allocator_leaves_at_0_are_not_told(
        self, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cuda.backend = "cudaMallocAsync"
        assert len(Cuda().allocator(0)) == 4
        assert "num_alloc_retries" not in Cuda().extra(0)
        cuda.backend = "native"
        monkeypatch.setenv("PYTORCH_NO_CUDA_MEMORY_CACHING", "1")
        assert len(Cuda().allocator(0)) == 4
        assert "num_alloc_retries" not in Cuda().extra(0)

    def test_one_call_into_torch_reads_them_all(self, cuda: FakeCuda) -> None:
        calls: list[int] = []
        stats = cuda.core._cuda_memoryStats

        def counted(device: int) -> Any:
            calls.append(device)
            return stats(device)

        vars(cuda.core)["_cuda_memoryStats"] = counted
        Cuda().allocator(1)
        assert calls == [1]

    def test_a_torch_without_the_private_call_is_asked_by_the_public_one(self, cuda: FakeCuda) -> None:
        cuda.use(0, allocated=7, reserved=9)
        stats = vars(cuda.core).pop("_cuda_memoryStats")
        vars(cuda.cuda)["memory_stats_as_nested_dict"] = lambda device=None: stats(device)
        assert Cuda().allocator(0)[:4] == (7, 9, 0, 0)

    def test_under_cuda_malloc_async_what_is_inactive_is_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda = FakeCuda(backend="cudaMallocAsync").install(monkeypatch)
        cuda.use(0, allocated=7, reserved=9, active=7)
        assert Cuda().allocator(0) == (7, 9, 7, None)
        assert Cuda().unavailable == ("allocator_inactive_bytes",)

    def test_what_is_unavailable_is_not_decided_before_the_device_is_in_use(self, cuda: FakeCuda) -> None:
        cuda.initialised = False
        assert Cuda().unavailable == ()
        cuda.initialised = True
        assert Cuda().unavailable == ()

    def test_a_torch_that_does_not_name_its_allocator_has_its_own(self, cuda: FakeCuda) -> None:
        cuda.use(0, split=5)
        del vars(cuda.core)["_cuda_getAllocatorBackend"]
        assert Cuda().allocator(0)[3] == 5

    def test_a_pluggable_allocator_gives_no_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        FakeCuda(backend="pluggable").install(monkeypatch)
        with pytest.raises(RuntimeError, match="does not yet support"):
            Cuda().allocator(0)

    @pytest.mark.parametrize("device", [-1, 2, None])
    def test_a_device_that_does_not_exist_gives_no_answer(self, cuda: FakeCuda, device: Any) -> None:
        with pytest.raises(RuntimeError):
            Cuda().allocator(device)
        assert cuda.initialisations == 0


class TestExtra:
    def test_retries_failures_private_pools_and_pinned_memory(self, cuda: FakeCuda) -> None:
        cuda.use(1, allocated=300 * MIB, reserved=512 * MIB)
        cuda.stats[1].update(num_alloc_retries=3, num_ooms=1)
        cuda.stats[1]["requested_bytes"]["all"]["current"] = 299 * MIB
        pools = cuda.stats[1]["reserved_bytes_by_private_pools"]
        pools[0, 1]["all"]["current"] = 64 * MIB
        pools[0, 2] = {"all": {"current": 2 * MIB}}
        cuda.host_stats["allocated_bytes"]["current"] = 128 * MIB
        cuda.host_stats["active_bytes"]["current"] = 100 * MIB
        assert Cuda().extra(1) == {
            "num_alloc_retries": 3,
            "num_ooms": 1,
            "num_device_alloc": 1,
            "num_device_free": 0,
            "requested_bytes": 299 * MIB,
            "private_pools_bytes": 66 * MIB,
            "pinned_bytes": 128 * MIB,
            "pinned_active_bytes": 100 * MIB,
        }

    def test_what_an_older_torch_does_not_count_is_left_out(self, cuda: FakeCuda) -> None:
        for name in ("requested_bytes", "reserved_bytes_by_private_pools", "num_ooms", "num_device_alloc"):
            del cuda.stats[0][name]
        del vars(cuda.core)["_cuda_hostMemoryStats"]
        assert Cuda().extra(0) == {"num_alloc_retries": 0, "num_device_free": 0}

    def test_it_initialises_nothing(self, cuda: FakeCuda) -> None:
        cuda.initialised = False
        for ask in (Cuda().extra, Cuda().peak, Cuda().reset_peak, Cuda().time_mark):
            with pytest.raises(RuntimeError, match="not initialised in this process"):
                ask(0)
        assert cuda.initialisations == 0


class TestPeaks:
    def test_a_peak_is_the_most_since_it_was_reset_on_its_device_alone(self, cuda: FakeCuda) -> None:
        backend = Cuda()
        cuda.use(0, allocated=500 * MIB)
        cuda.use(0, allocated=100 * MIB)
        cuda.use(1, allocated=7 * MIB)
        cuda.use(1, allocated=5 * MIB)
        assert (backend.peak(0), backend.peak(1)) == (500 * MIB, 7 * MIB)
        backend.reset_peak(0)
        assert (backend.peak(0), backend.peak(1)) == (100 * MIB, 7 * MIB)

    def test_a_torch_without_the_private_call_resets_by_the_public_one(self, cuda: FakeCuda) -> None:
        vars(cuda.cuda)["reset_peak_memory_stats"] = vars(cuda.core).pop("_cuda_resetPeakMemoryStats")
        cuda.use(0, allocated=9)
        cuda.use(0, allocated=4)
        backend = Cuda()
        backend.reset_peak(0)
        assert backend.peak(0) == 4


class TestDeviceTime:
    @pytest.fixture(autouse=True)
    def driver(self, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
        libraries = {"libcuda.so.1": cuda.driver}
        monkeypatch.setattr(torch_timing, "load_library", libraries.__getitem__)

    def test_it_is_what_the_device_took_and_unknown_until_then(self, cuda: FakeCuda) -> None:
        backend = Cuda()
        begin = backend.time_mark(1)
        cuda.queued_ms = 7.5
        end = backend.time_mark(1)
        assert begin is not None
        assert end is not None
        cuda.device_ms = 3.0
        assert backend.time_between(begin, end) is None
        cuda.device_ms = 8.0
        assert backend.time_between(begin, end) == 7.5
        assert cuda.streams == ["stream of 1"] * 2

    def test_events_are_used_again_by_their_own_device_alone(self, cuda: FakeCuda) -> None:
        backend = Cuda()
        for device in (0, 0, 1, 1, 0):
            begin, end = backend.time_mark(device), backend.time_mark(device)
            assert begin is not None
            assert end is not None
            assert backend.time_between(begin, end) == 0.0
        assert cuda.events_made == 4

    def test_a_stream_that_is_being_captured_gets_no_event(self, cuda: FakeCuda) -> None:
        cuda.capturing = True
        assert Cuda().time_mark(0) is None
        assert cuda.events_made == 0

    def test_asking_while_another_thread_captures_does_not_break_its_graph(self, cuda: FakeCuda) -> None:
        backend = Cuda()
        begin, end = backend.time_mark(0), backend.time_mark(0)
        assert begin is not None
        assert end is not None
        cuda.other_thread_captures = True
        assert backend.time_between(begin, end) == 0.0
        assert cuda.capture_mode == 0

    def test_a_thread_without_a_device_is_told_and_makes_no_context(self, cuda: FakeCuda) -> None:
        backend = Cuda()
        cuda.use(1)
        begin, end = backend.time_mark(1), backend.time_mark(1)
        assert begin is not None
        assert end is not None
        told: list[float | None] = []
        thread = threading.Thread(target=lambda: told.append(backend.time_between(begin, end)))
        thread.start()
        thread.join()
        assert (told, cuda.contexts) == ([0.0], {1})
        assert begin.event.query()  # what torch's own question would have done
        assert cuda.contexts == {0, 1}

    @pytest.mark.parametrize(("version", "is_timed"), [("6.4.43482", False), ("7.1.2", False), ("7.2.0", True)])
    def test_a_hip_that_breaks_captures_times_nothing(
        self, monkeypatch: pytest.MonkeyPatch, version: str, is_timed: bool
    ) -> None:
        fake = FakeCuda(hip=version).install(monkeypatch)
        monkeypatch.setattr(torch_timing, "load_library", {"libamdhip64.so": fake.driver}.__getitem__)
        backend = Rocm()
        if not is_timed:
            with pytest.raises(NotImplementedError, match="may break a graph"):
                backend.time_mark(0)
            return
        begin, end = backend.time_mark(0), backend.time_mark(0)
        assert begin is not None
        assert end is not None
        assert backend.time_between(begin, end) == 0.0

    def test_a_stream_that_is_stuck_does_not_hold_back_the_others(self, cuda: FakeCuda) -> None:
        backend = Cuda()
        timer = DeviceTimer(backend.time_mark, backend.time_between, 0)
        scopes = [SimpleNamespace(enter_sequence=number, phase_path=SimpleNamespace(names=())) for number in range(4)]
        for number, scope in enumerate(scopes):
            cuda.thread.stream = number % 2
            begin = timer.mark()
            timer.ended(scope, begin, timer.mark())  # type: ignore[arg-type]
        cuda.stuck_streams = {0}
        assert [entry["scope_id"] for portion in timer.resolved("s") for entry in portion] == ["s:1", "s:3"]
        cuda.stuck_streams = set()
        assert [entry["scope_id"] for portion in timer.resolved("s") for entry in portion] == ["s:0", "s:2"]

    def test_where_that_can_not_be_made_safe_nothing_is_recorded(
        self, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_library(name: str) -> Any:
            raise OSError(f"{name}: cannot open shared object file")

        monkeypatch.setattr(torch_timing, "load_library", no_library)
        with pytest.raises(NotImplementedError, match="not to be found"):
            Cuda().time_mark(0)
        assert cuda.events_made == 0


class TestDevices:
    def test_those_with_a_context_are_used_even_where_nothing_is_allocated(self, cuda: FakeCuda) -> None:
        backend = Cuda()
        assert list(backend.devices()) == []
        cuda.use(1, reserved=512 * MIB)
        assert list(backend.devices()) == [1]
        cuda.use(0)  # as a library does that forgets to choose its device
        assert list(backend.devices()) == [0, 1]

    @pytest.mark.parametrize("backend", [Cuda, Rocm])
    def test_where_contexts_do_not_tell_those_that_ever_reserved_memory_are(
        self, backend: type[Cuda], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch = FakeCuda(hip="6.4.43482" if backend is Rocm else None).install(monkeypatch)
        if backend is Cuda:
            del vars(torch.core)["_cuda_hasPrimaryContext"]
        torch.use(0)
        torch.use(1, reserved=512 * MIB)
        torch.use(1, reserved=0)  # torch.cuda.empty_cache()
        assert list(backend().devices()) == [1]

    def test_one_once_used_stays_so_when_its_peak_is_reset(self, rocm: FakeCuda) -> None:
        backend = Rocm()
        rocm.use(1, reserved=512 * MIB)
        assert list(backend.devices()) == [1]
        rocm.stats[1]["reserved_bytes"]["all"].update(current=0, peak=0)
        assert list(backend.devices()) == [1]

    def test_the_current_device_is_the_calling_threads(self, cuda: FakeCuda) -> None:
        backend = Cuda()
        cuda.thread.device = 1
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(backend.current_device()))
        thread.start()
        thread.join()
        assert (backend.current_device(), seen) == (1, [0])

    def test_a_torch_without_the_private_call_tells_the_current_device_too(self, cuda: FakeCuda) -> None:
        cuda.thread.device = 1
        del vars(cuda.core)["_cuda_getDevice"]
        vars(cuda.cuda)["current_device"] = lambda: 1
        assert Cuda().current_device() == 1

    def test_of_the_whole_device_the_total_is_known(self, cuda: FakeCuda) -> None:
        assert Cuda().device(1) == DeviceCounters(None, None, 79 * GIB)

    def test_properties_are_read_once(self, cuda: FakeCuda) -> None:
        backend = Cuda()
        backend.device(1)
        cuda.properties.clear()
        assert backend.device(1).total_bytes == 79 * GIB
        assert backend.identity(1) is not None

    @pytest.mark.parametrize("device", [-1, 2])
    def test_a_device_that_does_not_exist_has_no_total_and_no_identity(self, cuda: FakeCuda, device: int) -> None:
        for ask_of in (Cuda().device, Cuda().identity):
            with pytest.raises(AssertionError):
                ask_of(device)


class TestIdentity:
    def test_it_is_written_as_nvml_writes_it(self, cuda: FakeCuda) -> None:
        assert Cuda().identity(0) == DeviceIdentity(f"GPU-{UUIDS[0]}", "00000000:de:00.0")
        assert Cuda().identity(1) == DeviceIdentity(f"GPU-{UUIDS[1]}", "00000000:dd:00.0")

    def test_a_mig_slice_is_named_as_one(self, cuda: FakeCuda) -> None:
        cuda.properties[0].name = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
        identity = Cuda().identity(0)
        assert identity is not None
        assert identity.uuid == f"MIG-{UUIDS[0]}"

    def test_what_an_older_torch_does_not_tell_is_unknown(self, cuda: FakeCuda) -> None:
        del cuda.properties[0].pci_bus_id
        assert Cuda().identity(0) == DeviceIdentity(f"GPU-{UUIDS[0]}", None)
        del cuda.properties[0].uuid
        assert Cuda().identity(0) is None

    def test_on_rocm_it_is_the_bus_id(self, rocm: FakeCuda) -> None:
        assert Rocm().identity(0) == DeviceIdentity(None, "00000000:de:00.0")


@forks
class TestFork:
    def test_a_child_of_a_training_that_uses_the_device_is_refused(self, cuda: FakeCuda) -> None:
        backend = Cuda()
        assert backend.ready()

        def asked_in_child() -> list[Any]:
            with pytest.raises(RuntimeError, match="not initialised in this process"):
                backend.allocator(0)
            return [backend.ready(), Cuda().ready(), cuda.initialisations]

        assert in_forked_child(asked_in_child) == [False, False, 0]
        assert backend.ready()

    def test_a_child_that_initialises_the_device_itself_needs_a_backend_of_its_own(self, cuda: FakeCuda) -> None:
        backend = Cuda()
        cuda.bad_fork = False  # the fork came before the first use

        def asked_in_child() -> list[Any]:
            with pytest.raises(RuntimeError, match="not initialised in this process"):
                backend.allocator(0)
            return [backend.ready(), Cuda().ready()]

        assert in_forked_child(asked_in_child) == [False, True]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")
class TestRealTorch:
    def test_asking_does_not_import_it(self) -> None:
        code = """
            import sys
            from phasescope.backends.torch_cuda import Cuda, Rocm
            print([backend().ready() for backend in (Cuda, Rocm)], "torch" in sys.modules, "pynvml" in sys.modules)
        """
        assert in_new_python(code) == "[False, False] False False"

    def test_an_import_in_another_thread_is_not_disturbed(self) -> None:
        code = """
            import sys, threading
            from phasescope.backends.torch_cuda import Cuda, Rocm
            sys.setswitchinterval(1e-5)
            backends, asked, failed, imported = (Cuda(), Rocm()), [], [], threading.Event()

            def ask():
                while not imported.is_set():
                    try:
                        asked.append(any(backend.ready() for backend in backends))
                    except BaseException as error:
                        failed.append(repr(error))

            thread = threading.Thread(target=ask)
            thread.start()
            try:
                import torch
            finally:
                imported.set()
                thread.join()
            print(len(asked) > 100, any(asked), failed, torch.cuda.is_initialized())
        """
        assert in_new_python(code) == "True False [] False"

    def test_asking_it_initialises_nothing(self) -> None:
        code = """
            import torch
            from phasescope.backends.torch_cuda import Cuda, Rocm
            for backend in (Cuda(), Rocm()):
                backend.ready()
                for ask in (backend.devices, backend.current_device, lambda: backend.allocator(0)):
                    try:
                        ask()
                    except RuntimeError as error:
                        assert "not initialised" in str(error)
                    else:
                        raise SystemExit("answered")
                reason = backend.why_not()
            print(torch.cuda.is_initialized(), torch.version.cuda or reason.reason)
        """
        told = in_new_python(code)
        assert told.startswith("False ")
        if "+cpu" in torch_source("version.py"):
            assert told == "False this PyTorch is built for the CPU only"


class TestWhatTheAllocatorDoesNotCount:
    @pytest.mark.parametrize(
        ("variable", "value", "is_known"),
        [
            ("PYTORCH_ALLOC_CONF", "expandable_segments:True", False),
            ("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:512,expandable_segments: true", False),
            ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:False", True),
            ("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:512", True),
        ],
    )
    def test_what_lies_in_expandable_segments_is_not_called_split(
        self, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, is_known: bool
    ) -> None:
        monkeypatch.setenv(variable, value)
        cuda.use(0, GIB, 2 * GIB, GIB, 0)
        backend = Cuda()
        assert backend.ready()
        assert (backend.allocator(0)[3] == 0) == is_known
        assert ("allocator_inactive_bytes" in backend.unavailable) != is_known

    def test_an_allocator_that_is_passed_by_counts_nothing(
        self, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTORCH_NO_CUDA_MEMORY_CACHING", "1")
        cuda.use(0, 0, 0, 0, 0)
        backend = Cuda()
        assert backend.ready()
        assert {"allocator_allocated_bytes", "allocator_reserved_bytes"} <= set(backend.unavailable)


class TestTheFakeIsLikeTheRealThing:
    @staticmethod
    def parameters(path: str) -> dict[str, list[str]]:
        functions = [node for node in ast.parse(torch_source(path)).body if isinstance(node, ast.FunctionDef)]
        return {function.name: [arg.arg for arg in function.args.args] for function in functions}

    @staticmethod
    def faked(module: ModuleType) -> dict[str, list[str]]:
        functions = {name: value for name, value in vars(module).items() if inspect.isfunction(value)}
        return {name: list(inspect.signature(value).parameters) for name, value in functions.items()}

    def test_its_c_functions_have_the_signatures_of_the_installed_torch(self) -> None:
        faked = self.faked(FakeCuda().core)
        del faked["_cuda_hasPrimaryContext"], faked["_cuda_attach_out_of_memory_observer"]  # not in the stub
        assert faked
        real = self.parameters("_C/__init__.pyi")
        assert {name: real.get(name) for name in faked} == faked

    def test_the_observer_is_attached_by_the_name_that_the_installed_torch_knows(self) -> None:
        assert f'"torch._C.{Cuda._observer}"' in torch_source("_dynamo/trace_rules.py")

    def test_its_python_functions_have_the_signatures_of_the_installed_torch(self) -> None:
        faked = self.faked(FakeCuda().cuda)
        del faked["_is_in_bad_fork"]  # a C function or a lambda
        assert faked
        real = self.parameters("cuda/__init__.py") | self.parameters("cuda/memory.py")
        assert {name: real.get(name) for name in faked} == faked

    def test_its_properties_are_of_the_installed_torch_or_newer(self) -> None:
        stub = ast.parse(torch_source("_C/__init__.pyi")).body
        [real] = [node for node in stub if isinstance(node, ast.ClassDef) and node.name == "_CudaDeviceProperties"]
        known = {
            node.target.id
            for node in real.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
        faked = set(vars(FakeCuda().properties[0]))
        assert faked - known <= {"pci_domain_id", "pci_bus_id", "pci_device_id"}  # newer than the stub
