"""Out of memory is distinguished from other errors, and each error that is reported is reported once."""

from __future__ import annotations

import asyncio
import builtins
import errno
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase
from phasescope.capture.exception_info import (
    is_from_signal_handler,
    is_out_of_memory,
    one_line,
    shortage_in,
    whose_memory,
    with_causes,
)
from phasescope.testing import FakeBackend
from support.assertions import events_of, only, scopes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phasescope import Session

pytestmark = pytest.mark.neutral


@pytest.fixture
def session() -> Iterator[Session]:
    with phasescope.start(backends=[FakeBackend("cuda", allocated=7)]) as session:
        yield session


class Failure(Exception):
    """The training's own."""


class OutOfMemoryError(RuntimeError):
    """As torch's, by its name."""


class XlaRuntimeError(Exception):
    """As jaxlib's, by its name."""


TORCH = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1 is free."


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        type("Own", (MemoryError,), {})(),
        OutOfMemoryError(),
        type("Deeper", (OutOfMemoryError,), {})("no text"),
        type("ResourceExhaustedError", (Exception,), {})("OOM when allocating tensor with shape[10,10]"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError(TORCH),
        RuntimeError("HIP out of memory. Tried to allocate 2 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported asynchronously"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes"),
        RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback: {TORCH}"),
        RuntimeError("std::bad_alloc"),
        XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99 bytes."),
    ],
    ids=lambda error: f"{type(error).__name__}: {error}"[:40],
)
def test_out_of_memory(error: BaseException) -> None:
    assert is_out_of_memory(type(error), error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("failed to allocate port 80"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError(),
        RuntimeError(b"out of memory"),
        ValueError("out of memory"),
        KeyError("out of memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("out of memory"),
        KeyboardInterrupt(),
        Failure("RESOURCE_EXHAUSTED"),
    ],
    ids=lambda error: f"{type(error).__name__}: {error}"[:40],
)
def test_no_out_of_memory(error: BaseException) -> None:
    assert not is_out_of_memory(type(error), error)


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (MemoryError(), "host"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "host"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "host"),
        (type("ResourceExhaustedError", (Exception,), {})("OOM on /device:CPU:0 by allocator cpu"), "host"),
        (type("ResourceExhaustedError", (Exception,), {})("OOM on /device:GPU:0 by allocator GPU_0_bfc"), "device"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "device"),
        (RuntimeError("MPS backend out of memory"), "device"),
        (OutOfMemoryError(), "device"),
        (XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99 bytes."), None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_whose_memory_it_was_is_told_by_the_exception(error: BaseException, whose: str | None) -> None:
    shortage = shortage_in(type(error), error)
    assert shortage is not None
    assert whose_memory(shortage) == whose


def raised_from(cause: BaseException) -> RuntimeError:
    error = RuntimeError("training failed")
    error.__cause__ = cause
    return error


def test_what_an_exception_was_raised_from_counts_too() -> None:
    error = raised_from(raised_from(MemoryError()))
    assert shortage_in(RuntimeError, error) is not None
    assert shortage_in(RuntimeError, raised_from(KeyError())) is None
    inner = KeyError()
    inner.__cause__ = raised_from(inner)  # a chain that never ends
    assert shortage_in(KeyError, inner) is None


def test_raised_anew_from_it_is_one_report_with_the_words_of_both(session: Session) -> None:
    with pytest.raises(RuntimeError), phase("outer"), phase("step"):
        try:
            raise MemoryError("99 bytes")
        except MemoryError as error:
            raise RuntimeError("training failed") from error
    error_event = only(session, "error")
    assert error_event["context"] == "RuntimeError: training failed, from MemoryError: 99 bytes"
    assert error_event["metadata"]["error_type"] == "RuntimeError"
    assert error_event["metadata"]["memory"] == "host"


def test_raised_anew_from_one_that_was_reported_already_is_no_second_report(session: Session) -> None:
    with pytest.raises(RuntimeError), phase("outer"), phase("step"):
        try:
            with phase("inner"):
                raise MemoryError
        except MemoryError as error:
            raise RuntimeError("training failed") from error
    assert only(session, "error")["metadata"]["phase_scope"]["path"] == ["outer", "step", "inner"]
    exits = [event["metadata"].get("raised_from") for event in events_of(session, "phase_exit")]
    assert exits == [None, "MemoryError", "MemoryError"]


@pytest.mark.parametrize(
    ("code", "known"), [((), 0), ((None,), 0), ((3,), 3), ((True,), 1), (("no data",), 1), ((2**99,), 1), ((1.5,), 1)]
)
def test_the_outermost_exit_has_the_exit_code(session: Session, code: tuple[Any, ...], known: int) -> None:
    with pytest.raises(SystemExit), phase("outer"), phase("step"):
        sys.exit(*code)
    assert [event["metadata"].get("exit_code") for event in events_of(session, "phase_exit")] == [None, known]


def test_the_outermost_exit_has_the_words_of_the_exception(session: Session) -> None:
    with pytest.raises(Failure), phase("outer"), phase("step"):
        raise Failure("the reason")
    said = [event["metadata"].get("error") for event in events_of(session, "phase_exit")]
    assert said == [None, "Failure: the reason"]


def test_torchs_own_class_is_known() -> None:
    torch = pytest.importorskip("torch")
    assert is_out_of_memory(torch.OutOfMemoryError, torch.OutOfMemoryError("any text"))
    assert torch.cuda.OutOfMemoryError is torch.OutOfMemoryError


def a_pebibyte() -> Any:
    return bytearray(2**50)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a pebibyte may be promised")
def test_a_real_memory_error_is_reported_once_however_many_phases_it_leaves(session: Session) -> None:
    with pytest.raises(MemoryError):
        with phase("epoch"):
            with phase("step"):
                with phase("forward"):
                    a_pebibyte()
    error = only(session, "error")
    assert error["metadata"]["phase_scope"]["path"] == ["epoch", "step", "forward"]
    assert error["metadata"]["error_type"] == "MemoryError"
    assert error["metadata"]["out_of_memory"] is True
    assert error["context"] == "MemoryError"
    assert error["device_id"] == -1  # the host's, though the phase speaks of a device
    assert error["allocator_allocated_bytes"] > 7
    assert [scope["status"] for scope in scopes(session)] == ["error"] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a pebibyte may be promised")
def test_a_real_out_of_memory_of_torch_on_the_host(session: Session) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError, match="allocate memory"), phase("forward"):
        torch.empty(2**50, dtype=torch.uint8)
    error = only(session, "error")
    assert (error["device_id"], error["metadata"]["backend"]) == (-1, "cpu")
    assert error["metadata"]["error_type"] == "RuntimeError"
    assert error["metadata"]["out_of_memory"] is True
    assert error["metadata"]["memory"] == "host"
    assert error["metadata"]["requested_bytes"] == 2**50
    assert error["device_total_bytes"] > 0


def test_it_is_the_innermost_phase_that_is_named_also_across_functions_and_tasks(session: Session) -> None:
    @phase("forward")
    async def forward() -> None:
        raise MemoryError

    async def main() -> None:
        with phase("epoch"):
            await asyncio.create_task(forward())

    with pytest.raises(MemoryError), phase("run"):
        asyncio.run(main())
    assert only(session, "error")["metadata"]["phase_scope"]["path"] == ["run", "epoch", "forward"]


def test_each_attempt_that_runs_out_is_reported(session: Session) -> None:
    for _ in range(3):
        with phase("attempt"):
            try:
                with phase("forward"):
                    raise MemoryError
            except MemoryError:
                pass
    assert len(events_of(session, "error")) == 3


def test_a_second_failure_further_out_is_reported_also_where_the_first_was_caught(session: Session) -> None:
    def attempt() -> None:
        raise MemoryError  # Python makes these from a stock, so both have the same address

    with pytest.raises(MemoryError), phase("outer"):
        try:
            with phase("inner"):
                attempt()
        except MemoryError:
            pass
        attempt()
    errors = [event["metadata"]["phase_scope"]["path"] for event in events_of(session, "error")]
    assert errors == [["outer", "inner"], ["outer"]]


def test_raised_again_it_is_still_the_same(session: Session) -> None:
    with pytest.raises(MemoryError), phase("outer"):
        try:
            with phase("inner"):
                raise MemoryError
        except MemoryError as error:
            raise error
    assert len(events_of(session, "error")) == 1


def test_threads_that_run_out_at_once_are_each_reported_once(session: Session) -> None:
    gate = threading.Barrier(8)

    def work() -> None:
        with pytest.raises(MemoryError), phase("outer"):
            with phase("middle"):
                with phase("inner"):
                    gate.wait()
                    try:
                        raise MemoryError
                    finally:
                        gate.wait()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = events_of(session, "error")
    assert len(errors) == 8
    assert {tuple(event["metadata"]["phase_scope"]["path"]) for event in errors} == {("outer", "middle", "inner")}


def test_what_is_remembered_of_exceptions_is_bounded_and_holds_none(session: Session) -> None:
    with phase("outer"):
        for _ in range(500):
            raised = MemoryError()
            try:
                with phase("inner"):
                    raise raised
            except MemoryError:
                pass
    assert len(session._writer.reported) <= 64
    assert all(type(part) is int for key, seen in session._writer.reported.items() for part in (*key, *seen))


def test_report_exceptions_names_what_else_is_an_error_event() -> None:
    with phasescope.start(backends=[FakeBackend()], report_exceptions=[Failure, KeyboardInterrupt]) as session:
        for kind in (Failure, KeyboardInterrupt, ValueError, type("Own", (Failure,), {})):
            with pytest.raises(kind), phase("outer"), phase("step"):
                raise kind("the reason")
    said = [(event["context"], event["metadata"]["out_of_memory"]) for event in events_of(session, "error")]
    assert said == [
        ("Failure: the reason", False),
        ("KeyboardInterrupt: the reason", False),
        ("Own: the reason", False),
    ]


def test_without_it_other_errors_are_only_a_status(session: Session) -> None:
    with pytest.raises(ValueError, match="no"), phase("step"):
        raise ValueError("no")
    assert events_of(session, "error") == []


def _no(*_args: object) -> Any:
    raise AssertionError("the user's code was run")


def hostile_object() -> type[BaseException]:
    """A class of out-of-memory errors that raise whatever they are asked."""
    body = dict.fromkeys(("__str__", "__repr__", "__eq__", "__hash__", "__bool__", "__getattribute__"), _no)
    return type("Hostile", (MemoryError,), {**body, "args": property(_no), "__class__": property(_no)})


def hostile_class() -> type[BaseException]:
    """A class that raises when it is asked for its own name or bases."""
    meta = type("Meta", (type,), {"__name__": property(_no), "__mro__": property(_no), "__module__": property(_no)})
    return meta("Hostile", (RuntimeError,), {})  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [hostile_object, hostile_class])
def test_an_exception_is_not_asked(make: Callable[[], type[BaseException]]) -> None:
    with phasescope.start(backends=[FakeBackend()], report_exceptions=[RuntimeError]) as session:
        kind = make()
        raised = kind()
        caught: BaseException | None = None
        try:
            with phase("outer"), phase("step"):
                raise raised
        except BaseException as error:
            caught = error
        assert caught is raised
        assert (session.dropped, session.irregular) == (0, 0)
        del raised, caught
    assert [scope["error_type"] for scope in scopes(session)] == ["Hostile", "Hostile"]
    assert only(session, "error")["context"] == "Hostile"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("two\nlines\tand  spaces", "Failure: two lines and spaces"),
        ("a\ud800b", "Failure: a?b"),
        ("x" * 10_000, "Failure: " + "x" * 300),
        ("", "Failure"),
    ],
)
def test_an_error_is_one_line_of_text(text: str, said: str) -> None:
    assert one_line(Failure, Failure(text)) == said


def test_a_text_that_is_not_text_is_left_out() -> None:
    assert one_line(Failure, Failure(object(), b"bytes", "text")) == "Failure: text"
    assert one_line(Failure, None) == "Failure"


def test_an_exit_with_arguments_that_make_no_sense_is_harmless(session: Session) -> None:
    wrong: Any
    for wrong in ((1, 2, 3), ("ValueError", "no", None), (ValueError, "no", None), (None, ValueError(), None)):
        scope = phase("step")
        scope.__enter__()
        scope.__exit__(*wrong)
    assert [scope["status"] for scope in scopes(session)] == ["error", "error", "error", "ok"]
    assert list(session._writer.open) == []


def _catch(function: Callable[[], object]) -> BaseException:
    with pytest.raises(Failure) as caught:
        function()
    return caught.value


def test_what_a_signal_handler_raises_is_told_from_what_a_call_raises() -> None:
    def handler(_number: int, _frame: object) -> None:
        raise Failure

    def called() -> None:
        raise Failure

    def interrupted() -> None:
        handler(2, sys._getframe())

    def any_arguments(*_: object) -> None:
        called()

    def interrupted_by_another() -> None:
        any_arguments(2, sys._getframe())

    assert is_from_signal_handler(_catch(interrupted))
    assert is_from_signal_handler(_catch(interrupted_by_another))
    assert not is_from_signal_handler(_catch(called))
    assert not is_from_signal_handler(Failure())


class Archive:
    """What runs on the way out fails as well."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        raise Failure("the archive could not be finished")


def test_a_cleanup_that_fails_does_not_hide_what_ran_out(session: Session) -> None:
    with pytest.raises(Failure), phase("outer"), phase("save"), Archive():
        raise MemoryError("99 bytes")
    error = only(session, "error")
    assert error["context"] == "Failure: the archive could not be finished, while handling MemoryError: 99 bytes"
    assert error["metadata"]["phase_scope"]["path"] == ["outer", "save"]
    exits = [event["metadata"].get("raised_from") for event in events_of(session, "phase_exit")]
    assert exits == ["MemoryError", "MemoryError"]


def test_what_is_handled_by_a_function_inside_of_the_phase_counts(session: Session) -> None:
    def save() -> None:
        try:
            raise MemoryError
        finally:
            raise Failure

    with pytest.raises(Failure), phase("save"):
        save()
    assert only(session, "error")["metadata"]["out_of_memory"] is True


def test_what_was_handled_before_the_phase_began_is_not_its_own(session: Session) -> None:
    try:
        with phase("first"):
            raise MemoryError
    except MemoryError:
        with pytest.raises(KeyError), phase("again"):
            raise KeyError("loss")  # noqa: B904
    assert only(session, "error")["metadata"]["phase_scope"]["path"] == ["first"]


def test_what_was_handled_further_out_is_not_the_phases_own(session: Session) -> None:
    def train() -> None:
        with phase("step"):
            raise KeyError("loss")

    try:
        raise MemoryError
    except MemoryError:
        with pytest.raises(KeyError):
            train()
    assert events_of(session, "error") == []


def test_a_context_that_is_suppressed_is_not_followed(session: Session) -> None:
    with pytest.raises(Failure), phase("save"):
        try:
            raise MemoryError
        except MemoryError:
            raise Failure("too large for this machine") from None
    assert events_of(session, "error") == []


def test_contexts_that_lead_in_a_circle_end() -> None:
    first, second = KeyError("1"), KeyError("2")
    first.__context__, second.__context__ = second, first
    first.__traceback__ = second.__traceback__ = None
    second.__cause__ = first.__cause__ = second
    assert shortage_in(KeyError, first) is None
    assert with_causes(KeyError, first) == "KeyError: 1, from KeyError: 2"


@pytest.mark.skipif(not hasattr(builtins, "ExceptionGroup"), reason="groups came with Python 3.11")
def test_one_of_a_group_counts(session: Session) -> None:
    group: Any = builtins.ExceptionGroup  # type: ignore[attr-defined]
    with pytest.raises(group), phase("gather"):
        raise group("two tasks", [KeyError("x"), MemoryError("99 bytes")])
    assert only(session, "error")["metadata"]["memory"] == "host"
    assert only(session, "error")["context"].endswith(", of KeyError: x, of MemoryError: 99 bytes")
