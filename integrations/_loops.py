"""The `epoch`, `step` and `evaluate` around a plain loop's phases, from nothing but the order of its calls.

A phase's name is written when it begins, so whether a batch is for training is decided before it is used: by the
gradient mode, by the purpose of that loader's last batches, and by the mode of the model. Its use then corrects that
for the next one.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from phasescope import track

from ._loop_batches import Loaders
from ._loop_code import says_backward, says_no_gradients
from ._loop_ends import LoopEnds
from ._places import stack_in
from ._scopes import Scopes, UnseenError
from ._thread_ends import when_thread_fails

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from ._loop_batches import Batches
    from ._loop_optimizers import Optimizers
    from ._loop_steps import Step
    from ._role import Role

_NONE: AbstractSet[int] = frozenset()
_LOOKS = 8  # into the code around the calls, for a backward pass: not at each batch of an inference
_MANY = 64  # backward passes of a step, until it is plain that nobody reports the optimizer


class Loop:
    """The loop of one thread. It opens and closes the scopes around the phases, and hears of each before it begins."""

    def __init__(self, optimizers: Optimizers) -> None:
        self.owner = object()  # stands for this loop, which it does not keep
        self._optimizers = optimizers
        self._scopes = Scopes()
        self.ends = LoopEnds(self._scopes)
        self._step: Step | None = None
        self._epochs = 0
        self._of_epoch: Batches | None = None
        self._is_delayed = False  # an epoch, for a step that its data began in
        self._loaders = Loaders()
        self._model: weakref.ref[Any] | None = None
        self._idle: set[int] = set()  # optimizers that do not step each time
        self._last_is_of_others = False  # the last forward with gradients, of a model that no optimizer trains
        self._trains_others = False  # that alone stands before the backward passes: what is trained goes through it
        self._made: set[int] = set()  # optimizers that were made since one has stepped: they may step at once too
        self._was_over = False  # the step that they were made in
        self._looks = 0  # forwards of the evaluation that is open
        self._has_stepped = False
        self._trains_on = False  # it has stepped since an optimizer was made
        self._goes_without = False  # the loop of its optimizers is over, and what is called is a model of none
        self._has_had_backward = False
        self._says_backward = False
        self._looks_into_code = _LOOKS
        self._is_main = threading.current_thread() is threading.main_thread()
        if not self._is_main:
            when_thread_fails(threading.current_thread(), weakref.WeakMethod(self.leave_all))
        self._evaluates_in_mode = False  # the model trains in training mode, so the other one is for evaluation
        self._thread = os.getpid(), threading.get_ident()

    def __del__(self) -> None:
        """Close all that is open: the thread has ended. In a forked child, threads of its parent seem to end too."""
        with contextlib.suppress(Exception):
            if not self._is_main and self._thread == (os.getpid(), threading.get_ident()):
                self.leave_all(None)

    def leave_all(self, error: BaseException | None) -> None:
        """End all: the script, or its part that is a loop, is over. An error after a phase's loop is not in it."""
        raised = [] if error is None else stack_in(error.__traceback__)
        for name, _ in self._scopes.inside_out:
            own = None if raised and self.ends.is_over(name, raised) else error
            self._leave_step(own) if name == "step" else self._scopes.leave(name, own)
        self._step = None

    def is_in_session(self) -> bool:
        """Return whether all that is open was begun while a session ran: a child's begins with the first phase."""
        return self._scopes.are_open

    def catch_up(self) -> None:
        """Note which phases the sampler has ended."""
        seen, self.ends.seen = self.ends.seen, []
        for name, scope in self._scopes.inside_out:
            if scope in seen:
                self._leave_step() if name == "step" else self._scopes.leave(name)

    # Fetches

    def fetch_begins(self, iterator: Any, *, is_graded: bool = True) -> None:
        """Note that a batch is about to be fetched, with gradients switched on or off."""
        self.goes_on()
        batches = self._loaders.of(iterator)
        trains, begins = self._is_for_training(batches) if is_graded else False, batches.begins
        self._loaders.fetch(batches, trains, is_graded=is_graded)
        if trains:
            self._fetch_for_training(batches, begins)
        elif trains is False:
            self._enter_evaluate(amid_a_step=self._accumulates())
        elif self._step is not None and self._is_over_at_a_fetch(self._step):
            self._leave_step()

    def pass_begins(self, loader: int) -> None:
        """Note that this loader begins to be gone over, perhaps with the iterator that it has."""
        self._loaders.go_over_anew(loader)

    def fetch_found_the_end(self) -> None:
        """Note that the fetch that began last found no batch."""
        batches = self._loaders.last
        if batches is None:
            return
        batches.is_exhausted = True
        if "evaluate" in self._scopes:
            if self._looks >= batches.fetches - 1:  # else it is fetched ahead, and the last batch is still to come
                self._scopes.leave("evaluate")
        elif self._step is not None and self._step.batches is batches:
            if self._step.is_fresh and not batches.was_looked_at:
                self._leave_step(track.Exhausted())
            elif self._is_over_at_a_fetch(self._step):
                self._leave_step()

    def _is_for_training(self, batches: Batches) -> bool | None:
        """Return whether the next batch will be; None if nothing speaks for either."""
        by_loader = self._loaders.are_for_training(batches, self._mode())
        if by_loader is not None or self._mode() is not None:
            return by_loader
        if batches.is_a_look or not self._is_a_loop() or (batches.is_without_mode and self._trains_on):
            return None
        if self._own():
            return not says_no_gradients()
        return (not self._loaders.are_others_trained_on(batches) and self._will_train()) or None

    def _fetch_for_training(self, batches: Batches, begins: bool) -> None:
        self._scopes.leave("evaluate")
        is_new = "epoch" not in self._scopes or self._is_delayed or (begins and self._is_new_epoch(batches))
        self._is_delayed = is_new and self._is_amid_a_step(batches)
        if is_new and not self._is_delayed:
            self._begin_epoch(batches)
        elif self._step is not None and self._is_over_at_a_fetch(self._step):
            self._leave_step()
        if self._step is None:
            self._enter_step(batches)
        elif self._step.batches is None:
            self._step.batches = batches

    def _is_amid_a_step(self, batches: Batches) -> bool:
        """Return whether the data began again amid a step, which does not notice: their epoch is delayed."""
        step = self._step
        if step is None or step.is_fresh or self._is_over_at_a_fetch(step):
            return False
        return self._is_delayed or batches.goes_on_after(self._of_epoch)

    def _begin_epoch(self, batches: Batches) -> None:
        self._leave_step()
        self._scopes.leave("epoch")
        self.ends.epoch_begins()
        self._scopes.enter("epoch", self._epochs)
        self._epochs += 1
        self._of_epoch = batches

    def _is_new_epoch(self, batches: Batches) -> bool:
        """Return whether these begin an epoch.

        They do not if they come beside those of the epoch, or if each iterator is for one batch.
        """
        of_epoch = self._of_epoch
        if of_epoch is None or of_epoch.is_exhausted or of_epoch is batches:
            return True
        if of_epoch.dataset == batches.dataset and of_epoch.fetches == 1:
            self._of_epoch = batches
            return False
        return of_epoch.dataset == batches.dataset or of_epoch.is_of() is None

    # Forwards

    def forward_begins(self, module: Any, role: Role, *, is_graded: bool) -> None:
        """Note that a model is about to be called, so that gradients can follow or not. `goes_on` comes first."""
        is_trained = role.is_trained
        if is_graded and role.by and self._is_a_loop():
            self._optimizers.called(role.by, self.owner)
            self._goes_without = False
        elif is_graded and self._trains_on and not is_trained and self.ends.is_elsewhere():
            self._go_without()
        if is_graded:
            self._last_is_of_others = not is_trained
            self._trains_others = self._trains_others and not is_trained
        is_trained = is_trained or self._goes_without or self._trains_others
        own = is_trained and self._own()
        if own:
            self._model = weakref.ref(module)
        trains = vars(module).get("training") is not False
        if not is_graded or (is_trained and not trains and self._evaluates_in_mode):
            self._look(is_trained, trains)
        elif is_trained and (own or self._has_stepped or self._will_train()):
            self._train()
        elif is_trained:
            self._scopes.leave("evaluate")

    def _look(self, is_trained: bool, trains: bool) -> None:
        """Note a forward that no backward follows: of an evaluation, or in the middle of a step."""
        if "evaluate" not in self._scopes:
            self._leave_what_is_left()
        last, step = self._loaders.last, self._step
        if "evaluate" not in self._scopes and step is not None:
            is_known = last is not None and last.trains is True
            may_evaluate = step.is_fresh and is_trained and not trains and not is_known
            if not may_evaluate and not self._is_over(step, to_look=True):
                if last is not None:
                    last.was_looked_at = step.is_fresh
                return
        self._enter_evaluate()
        self.ends.looked()
        self._looks += 1
        self._loaders.prove(self._mode(), trains=False)

    def _train(self) -> None:
        self._scopes.leave("evaluate")
        step = self._step
        if step is not None:
            if step.is_by_hand and self._is_over(step):
                self._leave_step()
            elif step.stepped or self._is_over(step):
                self._leave_what_is_left()
        last = self._loaders.last
        if self._step is None and last is not None and last.is_unsorted:
            last.is_unsorted = False
            if "epoch" in self._scopes and self._is_new_epoch(last):
                self._begin_epoch(last)
        if self._step is None:
            self._enter_step(None)
        assert self._step is not None
        self._step.forwards += 1

    # Calls that are a whole step, or an evaluation's: what lies in them was compiled

    def compiled_begins(self, *, trains: bool | None, looks: bool) -> None:
        """Note the call of such a function. It may not be known yet whether it trains, or else calls a model."""
        self.goes_on()
        if trains:
            self._train()
            self.backward_begins()
        elif looks or (trains is None and self._step is None and self._has_unsorted_batch()):
            self._look(is_trained=True, trains=True)

    def compiled_ended(self, keys: Iterable[int], *, trains: bool, looks: bool, was_known: bool) -> None:
        """Note its end. It has stepped with these optimizers."""
        if trains:
            if not was_known:
                self._has_had_backward = True
                if self._step is not None:
                    self._step.backwards += 1
            for key in keys:
                self._optimizers.called((key,), self.owner)
                if self._step is not None:
                    self._note_call(self._step, key)
                self.optimizer_stepped(key)
            if self._step is not None:
                self._step.has_just_stepped = False  # an optimizer that is made next is of another training
                self.ends.learn(self._step)
            self._loaders.doubt_last()
            self._loaders.prove(self._mode(), trains=True)
        elif looks and not was_known and self._step is None:
            self._loaders.prove(self._mode(), trains=False)

    def _has_unsorted_batch(self) -> bool:
        last = self._loaders.last
        return last is not None and last.is_unsorted

    # Backward passes and steps

    def backward_begins(self) -> None:
        """Note that a backward pass is about to begin: whatever this is, it is training."""
        self.goes_on()
        mode = self._mode()
        if mode is not None:
            self._evaluates_in_mode = mode
        self._scopes.leave("evaluate")
        step = self._step
        if step is not None and step.is_of_tensors and self._nobody_tells_of_steps(step) and step.has_turned():
            self._leave_step()
            step = None
        if step is not None and step.is_by_hand and step.stepped and self._is_over(step):
            self._leave_step()
        if self._step is None:
            self._trains_others = self._last_is_of_others
            self._enter_step(None)
        assert self._step is not None
        self._step.has_backward()
        if self._nobody_tells_of_steps(self._step):
            self.ends.learn(self._step)
            if self._step.is_of_tensors:
                self._step.called()
        self._has_had_backward = True
        self._loaders.doubt_last()
        self._loaders.prove(self._mode(), trains=True)

    def optimizer_made(self, key: int) -> None:
        """Note that an optimizer is about to be known.

        If the loop has stepped before, another training begins with it; but not if it is made amid a step's steps, as
        one for each parameter may be.
        """
        if self._step is not None and not self._step.stepped:
            self._leave_what_is_left()  # steps without an optimizer: only their loop shows that they are over
        step = self._step
        is_over = step is not None and bool(step.stepped) and self._is_over(step) and step.is_without_batches
        if self._has_stepped and key not in self._own():
            self._model = None  # its mode says nothing of the one that is trained next
        self._idle.discard(key)
        if step is None or not step.has_just_stepped:
            self._begin_another(is_over)
            return
        self._was_over = self._was_over if self._made else is_over
        self._made.add(key)

    def goes_on(self) -> None:
        """Note that something else than a step is about to come."""
        if self._step is not None:
            self._step.has_just_stepped = False
        if self._made:
            self._begin_another(self._was_over)

    def _go_without(self) -> None:
        """Begin another training, of a model that none of the optimizers trains, unless they go on."""
        self._leave_what_is_left()
        self._optimizers.retire(self.owner)
        self._goes_without = True
        self._has_stepped = self._trains_on = self._has_had_backward = self._says_backward = False
        self._looks_into_code = _LOOKS

    def _begin_another(self, is_over: bool) -> None:
        if is_over and self._step is not None:
            self._leave_step()
        if self._trains_on:
            self._optimizers.retire(self.owner, self._made)
        self._trains_on = self._goes_without = False
        self._made.clear()

    def optimizer_begins(self, key: int) -> None:
        """Note that an optimizer is about to step."""
        if self._made and key not in self._made:
            self.goes_on()
        self._made.discard(key)
        self._goes_without = False
        self._optimizers.called((key,), self.owner)
        self._scopes.leave("evaluate")
        step = self._step
        if step is not None and key in step.stepped and step.is_by_hand and self._is_over(step):
            self._leave_step()
        if self._step is None:
            self._enter_step(None)
        assert self._step is not None
        self.ends.learn(self._step)
        self._note_call(self._step, key)
        self._loaders.doubt_last()
        self._loaders.prove(self._mode(), trains=True)

    def _note_call(self, step: Step, key: int) -> None:
        """Note where an optimizer steps, if of several that alone shows where the turns of the loop begin."""
        if step.is_by_hand and len(self._optimizers.awaited(self.owner)) > 1:
            step.called(key)

    def optimizer_stepped(self, key: int) -> None:
        """Note that an optimizer has stepped. One that steps twice has overtaken those that have not yet."""
        step = self._step
        self._has_stepped = self._trains_on = True
        if step is None:
            return
        if key in step.stepped:
            step.stepped_twice = True
            self._idle |= self._own() - step.stepped
        step.stepped.add(key)
        step.has_just_stepped = True

    def failed(self) -> None:
        """Note that the call begun last has raised: if the loop goes on, it is with another batch."""
        if self._step is not None:
            self._step.has_failed = True

    # The open scopes

    def _is_over(self, step: Step, *, to_look: bool = False) -> bool:
        """Return whether every optimizer that steps each time has stepped. A look begins after all of that."""
        if step.stepped:
            return step.have_stepped(self._optimizers.awaited(self.owner), self._idle, to_look=to_look)
        return step.has_failed or (step.backwards > 0 and self._nobody_tells_of_steps(step))

    def _is_over_at_a_fetch(self, step: Step) -> bool:
        return bool(step.stepped) or self._is_over(step)

    def _nobody_tells_of_steps(self, step: Step) -> bool:
        return not self._has_stepped and (not self._own() or step.backwards >= _MANY)

    def _mode(self) -> bool | None:
        """Return whether the model that was called last is in training mode."""
        model = None if self._model is None else self._model()
        return None if model is None else vars(model).get("training")

    def _enter_step(self, batches: Batches | None) -> None:
        step = self.ends.step_begins(batches)
        self._scopes.enter("step")
        self._step = step

    def _leave_step(self, error: BaseException | None = None) -> None:
        if error is None and self._step is not None and self._step.was_cut:
            error = UnseenError()
        self._step = self.ends.step = None
        self._scopes.leave("step", error)

    def _leave_what_is_left(self) -> None:
        """Leave the phases whose loop this thread has left."""
        for name, _ in self._scopes.inside_out:
            if not self.ends.has_left(name):
                return
            self._leave_step() if name == "step" else self._scopes.leave(name)

    def _accumulates(self) -> bool:
        """Return whether the step goes on after what comes now: its loop is not over, and its optimizers are ahead."""
        step = self._step
        return (
            step is not None
            and step.backwards > 0
            and not (step.stepped or self._is_over(step))
            and self.ends.is_in_turns_of(step)
        )

    def _enter_evaluate(self, *, amid_a_step: bool = False) -> None:
        if "evaluate" in self._scopes:
            self._leave_what_is_left()
        elif not amid_a_step:
            self._leave_step()
            self._leave_what_is_left()
        if "evaluate" not in self._scopes and self._is_a_loop():
            self.ends.evaluation_begins()
            self._scopes.enter("evaluate")
            self._looks = 0

    def _is_a_loop(self) -> bool:
        """Return whether this thread is one that trains or evaluates, and not a helper that fetches or serves."""
        return self._is_main or self._has_had_backward or bool(self._own())

    def _will_train(self) -> bool:
        """Return whether it trains without an optimizer: it has had a backward pass, or its code calls one later."""
        if not (self._has_had_backward or self._says_backward) and self._looks_into_code:
            self._looks_into_code -= 1
            self._says_backward = says_backward()
        return self._has_had_backward or self._says_backward

    def _own(self) -> AbstractSet[int]:
        """Return the optimizers that this loop made, or trains with."""
        return _NONE if self._goes_without else self._optimizers.of(self.owner)
