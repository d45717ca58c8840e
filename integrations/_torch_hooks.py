"""What `instrument` hangs on a model and its optimizer. None of it changes a value.

All are public hooks but one: the end of a backward pass is told by a callback of the engine that has no public name.
A public hook on every parameter would tell the same less exactly, and cost a call of Python for each of them.

Backward is told by tensor hooks, not by a module's full backward hooks: those put a node of their own around the
module, which forbids in-place changes of its outputs and breaks the graph under `torch.compile`.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import sys
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from phasescope import phase

from ._scopes import UnseenError, leave, logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_MAX_OUTPUTS = 64
_MAX_NESTING = 4
_EARLY_STOP = "_StopRecomputationError"  # how activation checkpointing leaves a recomputed forward that did enough

_call_impl = torch.nn.Module._call_impl.__code__


class Hook:
    """A function that may be copied and saved with the module it hangs on: the copy then does nothing."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> None:
        # Tracing for `torch.compile` and `torch.export` goes through here, finds nothing to do, and leaves no trace.
        if not torch.compiler.is_compiling():
            self._function(*arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return contextlib.nullcontext().__exit__

    def __reduce__(self) -> tuple[Any, ...]:
        # A method of the standard library that takes anything and does nothing: whoever loads it needs no phasescope.
        return (getattr, (contextlib.nullcontext(), "__exit__"))


class Forwards:
    """Forward passes: of the model and, where asked for, of its submodules. A stack for each thread."""

    def __init__(self, before: Callable[[], None], after: Callable[[Any], None], paused: Callable[[], bool]) -> None:
        self._before = before
        self._after = after
        self._paused = paused
        self._threads = threading.local()

    def hook(self, module: torch.nn.Module, name: str) -> list[Any]:
        """Mark each forward of the module; its phase is named `forward` where the name is "", as the model's own is.

        The handles that take the marks away again.
        """
        is_this = weakref.ref(module)

        def begin(called: torch.nn.Module, _inputs: Any) -> None:
            if is_this() is called and not self._paused():
                self._begin(called, name)

        def end(called: torch.nn.Module, _inputs: Any, output: Any) -> None:
            if is_this() is called:
                self._end(name, output)

        return [
            module.register_forward_pre_hook(Hook(begin), prepend=True),
            module.register_forward_hook(Hook(end), always_call=True),
        ]

    def leave_all(self, error: BaseException | None) -> None:
        """Close what is open in the calling thread."""
        opened = self._stack()
        while opened:
            leave(opened.pop()[1], error)

    def _stack(self) -> list[tuple[str, phase]]:
        try:
            stack: list[tuple[str, phase]] = self._threads.stack
        except AttributeError:
            stack = self._threads.stack = []
        return stack

    def _begin(self, module: torch.nn.Module, name: str) -> None:
        opened = self._stack()
        if not name:
            if opened and _calls_of(module) < sum(not other for other, _ in opened):
                self.leave_all(UnseenError())
            self._before()
        scope = phase(_name_below(opened[-1][0] if opened else None, name))
        scope.__enter__()
        opened.append((name, scope))

    def _end(self, name: str, output: Any) -> None:
        opened = self._stack()
        if not any(other == name for other, _ in opened):
            return
        # After an exception the hook is called with what there is of an output, usually nothing.
        error = sys.exc_info()[1] if output is None else None
        if error is not None and type(error).__name__ == _EARLY_STOP:
            error = None
        while True:
            other, scope = opened.pop()
            leave(scope, error)
            if other == name:
                break
        if not name:
            self._after(output)


class Backward:
    """The backward pass: from the first gradient of an output to the end of the pass.

    Its end is told by a callback of the autograd engine, as torch's own data parallelism is told it. Where a pass
    breaks off none comes, and the phase ends with whatever is next: a fetch, a forward, a step.
    """

    _open: ClassVar[dict[int, Backward]] = {}  # of all models, by the thread of their forward: at most one each

    def __init__(self) -> None:
        self._scope: phase | None = None
        self._context: contextvars.Context | None = None
        self._thread = 0
        self._over = False
        self._handles: deque[Any] = deque(maxlen=_MAX_OUTPUTS)

        def begin(_gradient: Any) -> None:
            self._begin(threading.get_ident(), None)

        # Who saves the output is not warned that this hook is not saved with it.
        self._begin_here = torch.utils.hooks.unserializable_hook(begin)

    def expect(self, output: Any) -> None:
        """The next gradient of this output begins a backward pass."""
        if not torch.is_grad_enabled():
            return
        try:
            for tensor in itertools.islice(_tensors(output), _MAX_OUTPUTS):
                hook = self._begin_here if tensor.is_cpu else self._begin_from_elsewhere()
                node = tensor.grad_fn
                # On the node rather than on the tensor: who saves or copies that has nothing of ours.
                handle = tensor.register_hook(hook) if node is None else node.register_prehook(hook)
                self._handles.append(handle)
        except RuntimeError as error:  # a tensor of a kind that takes no hooks
            logger.debug("no backward phase for an output: %s", type(error).__name__)

    def _begin_from_elsewhere(self) -> Callable[[Any], None]:
        """Gradients on an accelerator are computed in a thread of autograd's that knows nothing of our phases."""
        ident, context = threading.get_ident(), contextvars.copy_context()

        def begin(_gradient: Any) -> None:
            self._begin(ident, None if threading.get_ident() == ident else context)

        hook: Callable[[Any], None] = torch.utils.hooks.unserializable_hook(begin)
        return hook

    def _begin(self, ident: int, context: contextvars.Context | None) -> None:
        if self._scope is not None or self._over or torch.compiler.is_compiling():
            return
        other = Backward._open.get(ident)
        if other is not None:  # the gradient of one model reached the next
            other._end(None)
        self._thread = ident
        self._context = context
        self._scope = scope = phase("backward")
        Backward._open[ident] = self
        if context is None:
            scope.__enter__()
        else:
            context.run(scope.__enter__)
        _at_the_end_of_the_pass(self._end_of, scope)

    def _end_of(self, scope: phase) -> None:
        if self._scope is scope:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        scope, self._scope = self._scope, None
        if scope is None:
            return
        if Backward._open.get(self._thread) is self:
            del Backward._open[self._thread]
        context, self._context = self._context, None
        try:
            leave(scope, error) if context is None else context.run(leave, scope, error)
        except RuntimeError:  # the context is in use by another thread
            leave(scope, error)

    @classmethod
    def end_unless_running(cls) -> None:
        """End the one whose end was not told. What runs below autograd, such as a recomputed forward, is inside."""
        backward = cls._open.get(threading.get_ident())
        if backward is not None and not is_below("torch.autograd.graph"):
            backward._end(None)

    def remove(self, error: BaseException | None = None) -> None:
        """Mark nothing any more, and take the hooks away, those on outputs that are still alive too."""
        self._over = True  # there may be more outputs than handles
        while self._handles:
            self._handles.pop().remove()
        if self._scope is not None:
            self._end(error)


def _at_the_end_of_the_pass(call: Callable[[phase], None], scope: phase) -> None:
    """Have the running backward pass call this when all its gradients are there and were reduced."""
    try:
        queue = torch.autograd.Variable._execution_engine.queue_callback
        # Queued anew from the queue, it comes after those that came in during the pass: data parallelism's.
        queue(lambda: queue(lambda: call(scope)))
    except (AttributeError, RuntimeError) as error:  # no such engine, or no pass of its own
        logger.debug("the end of a backward pass is not told: %s", type(error).__name__)


class Steps:
    """The steps of one optimizer, whichever models share it."""

    _of: ClassVar[weakref.WeakKeyDictionary[torch.optim.Optimizer, Steps]] = weakref.WeakKeyDictionary()

    def __init__(self, optimizer: torch.optim.Optimizer, paused: Callable[[], bool]) -> None:
        self._paused = paused
        self._scope: phase | None = None
        self._users = 0
        self._handles = [
            optimizer.register_step_pre_hook(self._begin),
            optimizer.register_step_post_hook(self._end),
        ]

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer, paused: Callable[[], bool]) -> Steps:
        """The steps of this optimizer, hooked at the first call; `release` them as often."""
        steps = cls._of.get(optimizer)
        if steps is None:
            steps = cls._of[optimizer] = cls(optimizer, paused)
        steps._users += 1
        return steps

    def release(self) -> None:
        """One model needs them no more. With the last, the hooks are taken away."""
        self._users -= 1
        if self._users == 0:
            for handle in self._handles:
                handle.remove()
            self.end_unless_running()
            for optimizer, steps in list(self._of.items()):
                if steps is self:
                    del self._of[optimizer]

    def end_unless_running(self) -> None:
        """End a step that an exception left: no hook is called then. A closure's forward is inside of one that runs."""
        if self._scope is not None and not is_below("torch.optim.optimizer"):
            self._leave(UnseenError())

    def _begin(self, *_arguments: Any) -> None:
        if torch.compiler.is_compiling() or self._paused():
            return
        self._leave(UnseenError())
        Backward.end_unless_running()
        self._scope = phase("optimizer")
        self._scope.__enter__()

    def _end(self, *_arguments: Any) -> None:
        if self._scope is not None and not torch.compiler.is_compiling():
            Backward.end_unless_running()  # of a closure
            self._leave(None)

    def _leave(self, error: BaseException | None) -> None:
        scope, self._scope = self._scope, None
        if scope is not None:
            leave(scope, error)


def is_below(module: str) -> bool:
    """Whether a function of that module is on the calling thread's stack."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == module:
            return True
        frame = frame.f_back
    return False


def _calls_of(module: torch.nn.Module) -> int:
    """How many calls of this module are on the stack, less the one that begins. Only asked where one seems open."""
    calls = -1
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is _call_impl and frame.f_locals.get("self") is module:
            calls += 1
        frame = frame.f_back
    return calls


def _name_below(outer: str | None, name: str) -> str:
    """A submodule's phase is named by its path from the module around it that has a phase."""
    if not name:
        return "forward"
    return name[len(outer) + 1 :] if outer and name.startswith(f"{outer}.") else name


def _tensors(output: Any, nesting: int = 0) -> Iterator[torch.Tensor]:
    """The tensors of an output that a gradient can come to. Only containers of known kinds are looked into."""
    if isinstance(output, torch.Tensor):
        if output.requires_grad:
            yield output
    elif nesting < _MAX_NESTING and isinstance(output, (tuple, list, dict)):
        for item in output.values() if isinstance(output, dict) else output:
            yield from _tensors(item, nesting + 1)
    elif nesting < _MAX_NESTING and hasattr(type(output), "__dataclass_fields__"):
        for item in list(vars(output).values()):
            yield from _tensors(item, nesting + 1)
