"""start(oom_snapshot=DIR): the framework's own record, in a file, with the phases as labels."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase
from phasescope.backends.torch_snapshot import MAX_ENTRIES, History
from phasescope.testing import FakeBackend
from support.assertions import events_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Session

pytestmark = pytest.mark.neutral


class OutOfMemoryError(RuntimeError):
    """As torch's, by its name."""


class Recording(FakeBackend):
    """A backend that records, as that of torch does."""

    def __init__(self) -> None:
        super().__init__("cuda")
        self.labels: list[str] = []
        self.recording = 0
        self.broken = False

    def snapshot_begin(self) -> None:
        self.recording += 1

    def snapshot_label(self, text: str) -> None:
        self.labels.append(text)

    def snapshot_write(self, path: str) -> None:
        if self.broken:
            raise OSError(28, "No space left on device")
        Path(path).write_bytes(b"snapshot")

    def snapshot_end(self) -> None:
        self.recording -= 1


@pytest.fixture
def backend() -> Recording:
    return Recording()


@pytest.fixture
def session(backend: Recording, tmp_path: Path) -> Iterator[Session]:
    with phasescope.start(backends=[backend], oom_snapshot=tmp_path / "oom") as session:
        yield session


def run_out() -> None:
    with pytest.raises(OutOfMemoryError), phase("forward"):
        raise OutOfMemoryError("CUDA out of memory.")


def test_the_event_names_the_file(session: Session, tmp_path: Path) -> None:
    run_out()
    (error,) = events_of(session, "error")
    path = Path(error["metadata"]["snapshot"])
    assert path.parent == tmp_path / "oom"
    assert path.read_bytes() == b"snapshot"


def test_failures_that_operators_catch_leave_a_file_for_the_one_that_ends_it(tmp_path: Path) -> None:
    class Observed(Recording):
        def snapshot_at_failure(self, write: Any) -> None:
            self.write = write

    backend = Observed()
    with phasescope.start(backends=[backend], oom_snapshot=tmp_path / "oom") as session:
        with phase("search"):
            for _ in range(10):
                backend.write()
        assert len(list((tmp_path / "oom").iterdir())) == 2
        run_out()
        (error,) = events_of(session, "error")
    assert Path(error["metadata"]["snapshot"]).exists()
    assert len(list((tmp_path / "oom").iterdir())) == 3


def test_phases_label_the_record(session: Session, backend: Recording) -> None:
    with phase("step"), phase("forward"):
        pass
    assert backend.labels == ["step", "step/forward", "step", ""]


def test_no_more_than_three_files_are_written(session: Session, tmp_path: Path) -> None:
    for _ in range(5):
        run_out()
    assert len(list((tmp_path / "oom").iterdir())) == 3
    assert sum("snapshot" in error["metadata"] for error in events_of(session, "error")) == 3


def test_memory_of_the_host_has_no_such_file(session: Session, tmp_path: Path) -> None:
    with pytest.raises(MemoryError), phase("data"):
        raise MemoryError
    assert list((tmp_path / "oom").iterdir()) == []


def test_a_file_that_can_not_be_written_changes_nothing(session: Session, backend: Recording) -> None:
    backend.broken = True
    run_out()
    (error,) = events_of(session, "error")
    assert "snapshot" not in error["metadata"]


def test_recording_ends_with_the_session(backend: Recording, tmp_path: Path) -> None:
    with phasescope.start(backends=[backend], oom_snapshot=tmp_path):
        with phase("step"):
            assert backend.recording == 1
    assert backend.recording == 0


def test_without_the_option_nothing_is_recorded(backend: Recording) -> None:
    with phasescope.start(backends=[backend]) as session:
        run_out()
        assert backend.recording == 0
        assert "snapshot" not in events_of(session, "error")[0]["metadata"]


def test_a_directory_that_can_not_be_made_raises_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"oom_snapshot: .*file.* cannot be"):
        phasescope.start(oom_snapshot=tmp_path / "file" / "oom")
    assert phasescope.current() is None


class Memory:
    """`torch.cuda.memory`, as far as it is called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def _record_memory_history(self, enabled: str | None = "all", *args: Any, **kwargs: Any) -> None:
        self.calls.append(("record", (enabled, *args), kwargs))

    def _dump_snapshot(self, filename: str = "dump_snapshot.pickle") -> None:
        self.calls.append(("dump", (filename,), {}))


class Core:
    """`torch._C`."""

    def __init__(self, *, enabled: bool = False) -> None:
        self.enabled = enabled
        self.label = ""

    def _cuda_isHistoryEnabled(self) -> bool:  # noqa: N802 - torch's
        return self.enabled

    def _cuda_setMemoryMetadata(self, metadata: str) -> None:  # noqa: N802 - torch's
        self.label = metadata

    def _cuda_getMemoryMetadata(self) -> str:  # noqa: N802 - torch's
        return self.label


def test_torchs_record_is_begun_bounded_and_ended() -> None:
    memory, core = Memory(), Core()
    history = History(memory, core)
    history.begin()
    history.label("step/forward")
    assert core.label == "step/forward"
    history.write("there.pickle")
    history.end()
    history.end()
    assert core.label == ""  # nothing of ours stays
    assert memory.calls == [
        ("record", ("all",), {"max_entries": MAX_ENTRIES, "stacks": "python"}),
        ("dump", ("there.pickle",), {}),
        ("record", (None,), {}),
    ]


def test_a_record_of_the_users_own_is_left_as_it_is() -> None:
    memory = Memory()
    history = History(memory, Core(enabled=True))
    history.begin()
    history.end()
    assert memory.calls == []


def test_a_label_of_the_trainings_own_is_left_as_it_is() -> None:
    core = Core()
    history = History(Memory(), core)
    history.begin()
    history.label("step")
    core.label = "the optimizer's"
    history.label("step/forward")
    history.end()
    assert core.label == "the optimizer's"


def test_an_older_torch_has_none() -> None:
    with pytest.raises(NotImplementedError):
        History(object(), Core()).begin()


def test_the_installed_torch_has_what_is_called() -> None:
    memory = pytest.importorskip("torch.cuda.memory")
    parameters = inspect.signature(memory._record_memory_history).parameters
    assert {"enabled", "max_entries", "stacks"} <= set(parameters)
    assert "filename" in inspect.signature(memory._dump_snapshot).parameters
    assert "metadata" in inspect.signature(memory._set_memory_metadata).parameters
