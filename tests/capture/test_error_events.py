"""What is written down when memory runs out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import phase
from phasescope.backends.protocol import DeviceCounters
from phasescope.capture import oom_message
from phasescope.testing import FakeBackend
from support.assertions import events_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phasescope import Session

pytestmark = pytest.mark.neutral

GIB = 2**30


class OutOfMemoryError(RuntimeError):
    """As torch's, by its name."""


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.10 GiB", 20 * GIB),
        ("CUDA out of memory. Tried to allocate 2.50 MiB.", 2_621_440),
        ("MPS backend out of memory (MPS allocated: 1 GB, max allowed: 9 GB). Tried to allocate 256 bytes on x", 256),
        ("XPU out of memory. Tried to allocate 1.00 KiB.", 1024),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1125899906842624 bytes. Error", 2**50),
        ("Unable to allocate 8.00 TiB for an array with shape (1099511627776,) and data type int64", 8 * 2**40),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1099511627776 bytes.", 2**40),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 4096 bytes.", 4096),
        ("OOM when allocating tensor with shape[1000,2000,3] and type float on /job:localhost", 24_000_000),
        ("OOM when allocating tensor with shape[10] and type something on /job:localhost", None),
        ("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", None),
        ("", None),
    ],
)
def test_what_was_asked_for(text: str, size: int | None) -> None:
    assert oom_message.requested_bytes(text) == size


def test_what_was_asked_for_of_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(MemoryError) as caught:
        numpy.empty((2**40, 1024), dtype="int64")
    assert oom_message.requested_by_numpy(caught.value) == 2**53
    assert oom_message.requested_by_numpy(MemoryError((3,), None)) is None
    assert oom_message.requested_by_numpy(None) is None


def test_the_settings_in_force_are_named() -> None:
    environ = {"PYTORCH_ALLOC_CONF": "expandable_segments:True", "PATH": "/bin", "TF_GPU_ALLOCATOR": "x" * 999}
    found = {name: value for name, value in oom_message.settings(environ).items() if name.isupper()}
    assert found == {"PYTORCH_ALLOC_CONF": "expandable_segments:True", "TF_GPU_ALLOCATOR": "x" * 200}


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend("cuda", allocated=60 * GIB, reserved=70 * GIB, active=61 * GIB, inactive=6 * GIB)


@pytest.fixture
def session(backend: FakeBackend) -> Iterator[Session]:
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        yield session


def test_the_device_is_looked_at_anew(session: Session, backend: FakeBackend) -> None:
    raised = OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    with pytest.raises(OutOfMemoryError) as caught, phase("step"), phase("forward"):
        backend.figures = DeviceCounters(79 * GIB, 1 * GIB, 80 * GIB)  # after the last sample
        raise raised
    assert caught.value is raised
    (error,) = events_of(session, "error")
    assert error["device_id"] == 0
    assert (error["allocator_allocated_bytes"], error["allocator_reserved_bytes"]) == (60 * GIB, 70 * GIB)
    assert error["allocator_inactive_bytes"] == 6 * GIB
    assert (error["device_used_bytes"], error["device_free_bytes"]) == (79 * GIB, 1 * GIB)
    assert error["metadata"]["requested_bytes"] == 20 * GIB
    assert error["metadata"]["memory"] == "device"
    assert error["metadata"]["phase_scope"]["path"] == ["step", "forward"]


def test_memory_of_the_host_is_the_hosts(session: Session) -> None:
    with pytest.raises(MemoryError), phase("data"):
        raise MemoryError
    (error,) = events_of(session, "error")
    assert (error["device_id"], error["metadata"]["memory"]) == (-1, "host")
    assert error["device_total_bytes"] > 0


def test_a_device_that_fails_to_answer_then_changes_nothing(session: Session, backend: FakeBackend) -> None:
    with pytest.raises(OutOfMemoryError), phase("forward"):
        backend.fail_with = RuntimeError("the device is lost")
        raise OutOfMemoryError("CUDA out of memory.")
    (error,) = events_of(session, "error")
    assert "allocator_allocated_bytes" in error["metadata"]["unavailable"]
    assert session.dropped == 0


TORCH = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 1 has a total capacity of 80.00 GiB of which 12.00 MiB is "
    "free. {processes}Of the allocated memory 38.00 GiB is allocated by PyTorch, and 500.00 MiB is reserved by PyTorch "
    "but unallocated."
)
OURS = "Process 7 has 40.00 GiB memory in use. Including non-PyTorch memory, this process has 39.00 GiB memory in use. "


def test_the_figures_of_torchs_message_are_read() -> None:
    known = {
        "backend": "cuda",
        "device_id": 1,
        "total_bytes": 80 * GIB,
        "free_bytes": 12 * 2**20,
        "allocated_bytes": 38 * GIB,
        "slack_bytes": 500 * 2**20,
    }
    others = {"process_used_bytes": 39 * GIB, "other_processes_bytes": 40 * GIB}
    assert oom_message.stated_figures(TORCH.format(processes=OURS)) == {**known, **others}
    # In a container this process is listed under a number that it does not know.
    assert oom_message.stated_figures(TORCH.format(processes="Process 7 has 40.00 GiB memory in use. ")) == known
    assert oom_message.stated_figures("CUDA error: out of memory") == {"backend": "cuda"}
    nonsense = "GPU 99999999999999999999 has a total capacity of 9.9.9 GiB, of which 1e9 GiB is free"
    assert oom_message.stated_figures(nonsense) == {}


def _raise() -> None:
    raise MemoryError("too large for this configuration")


def _allocate() -> None:
    bytearray(2**62)


def _raise_again() -> None:
    try:
        _allocate()
    except MemoryError as error:
        raise MemoryError("no room for the batch") from error


def _of_a_library() -> None:
    code = compile("raise MemoryError('caught in a worker')", "/usr/lib/python3/site-packages/pool.py", "exec")
    exec(code)


@pytest.mark.parametrize(
    ("fail", "is_raised"), [(_raise, True), (_allocate, False), (_raise_again, False), (_of_a_library, False)]
)
def test_an_error_of_a_raise_statement_is_told_from_a_failed_allocation(
    fail: Callable[[], None], is_raised: bool
) -> None:
    with phasescope.start(backends=["cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(MemoryError), phase("load"):
            fail()
        (error,) = events_of(session, "error")
    line = _raise.__code__.co_firstlineno + 1
    assert error["metadata"].get("raised_at") == (f"{Path(__file__).name}:{line}" if is_raised else None)


def test_a_device_that_no_backend_knows_ran_out_and_not_the_host() -> None:
    with phasescope.start(backends=["cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(OutOfMemoryError), phase("forward"):
            raise OutOfMemoryError(TORCH.format(processes=OURS))
        (error,) = events_of(session, "error")
    assert error["metadata"]["memory"] == "device"
    assert error["metadata"]["told"]["allocated_bytes"] == 38 * GIB
    assert "allocator_allocated_bytes" in error["metadata"]["unavailable"]


def test_a_device_that_came_into_use_within_the_phase_is_looked_at(backend: FakeBackend) -> None:
    backend.is_ready = False
    with phasescope.start(backends=[backend, "cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(OutOfMemoryError), phase("to the device"):
            backend.is_ready = True
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        (error,) = events_of(session, "error")
    assert (error["device_id"], error["metadata"]["memory"]) == (0, "device")
    assert error["allocator_allocated_bytes"] == 60 * GIB
    assert "told" not in error["metadata"]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counted as Linux shows them")
def test_mappings_are_counted_where_there_are_such_figures(tmp_path: Path) -> None:
    found = oom_message.mappings()
    assert 10 < found["mappings"] < found["mappings_limit"]
    assert oom_message.mappings(str(tmp_path)) == {}
    (tmp_path / "sys/vm").mkdir(parents=True)
    (tmp_path / "sys/vm/max_map_count").write_text("many\n")
    assert oom_message.mappings(str(tmp_path)) == {}


def test_the_file_that_an_error_names_is_in_its_text(tmp_path: Path) -> None:
    missing = tmp_path / "none.csv"
    with phasescope.start(backends=[FakeBackend("fake")], report_exceptions=[OSError]) as session:
        with pytest.raises(FileNotFoundError), phase("load"):
            missing.open()
        exits = [event for event in session.events() if event["event_type"] == "phase_exit"]
    assert exits[-1]["metadata"]["error"] == f"FileNotFoundError: No such file or directory: {str(missing)!r}"
