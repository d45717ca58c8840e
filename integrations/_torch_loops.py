"""The `epoch`, `step` and `evaluate` around what a plain loop does, from nothing but the order in which it does it.

A phase's name is written when it begins, so whether a batch is for training is told before it is used: by the gradient
mode, by what the last batches of that loader were for, and by the mode of the model. What is then done with it corrects
that for the next one.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

import torch

from phasescope import track

from ._scopes import Scopes

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from ._torch_owners import Optimizers
    from ._torch_roles import Role

_MANY = 64  # backward passes of a step, until it is plain that nobody tells of the optimizer


class Batches:
    """What is known of an iterator over batches. `trains` is None as long as nothing was done with one."""

    def __init__(self, iterator: Any) -> None:
        self.is_of = weakref.ref(iterator)
        held = vars(iterator)
        self.dataset = id(held.get("_dataset"))
        self.loader = id(held.get("_index_sampler"))  # each loader has one of its own, and its iterators share it
        self.trains: bool | None = None
        self.fetches = 0
        self.is_exhausted = False
        self.is_unsorted = False  # the first was fetched, and nothing spoke for either
        self.was_looked_at = False  # there was a forward without gradients since the last fetch
        self.is_without_gradients = False  # the last fetch was: that speaks for itself, the next time as well


class Step:
    """What has happened in a step."""

    def __init__(self, batches: Batches | None) -> None:
        self.batches = batches
        self.stepped: set[int] = set()
        self.stepped_twice = False
        self.forwards = 0
        self.backwards = 0
        self.has_failed = False

    @property
    def is_fresh(self) -> bool:
        """Whether nothing of a training has happened in it yet."""
        return not (self.forwards or self.backwards or self.stepped)


class Loop:
    """The loop of one thread. It opens and closes what lies around the phases, and is told of each before it begins."""

    def __init__(self, optimizers: Optimizers) -> None:
        self.owner = object()  # stands for this loop, which it does not keep
        self._optimizers = optimizers
        self._scopes = Scopes()
        self._step: Step | None = None
        self._epochs = 0
        self._of_epoch: Batches | None = None
        self._iterators: dict[int, Batches] = {}
        # By loader and by dataset, since loaders may be made anew: whether it trains, in which mode of the model.
        self._uses: dict[int, tuple[bool, bool | None]] = {}
        self._last: Batches | None = None
        self._unproven: list[Batches] = []  # fetched from since it was last plain what for
        self._model: weakref.ref[Any] | None = None
        self._idle: set[int] = set()  # optimizers that do not step each time
        self._looks = 0  # forwards of the evaluation that is open
        self._has_stepped = False
        self._has_had_backward = False
        self._is_main = threading.current_thread() is threading.main_thread()
        self._evaluates_in_mode = False  # the model trains in training mode, so the other one is for evaluation
        self._thread = os.getpid(), threading.get_ident()

    def __del__(self) -> None:
        """Close what is open: the thread has ended. In a forked child, threads of its parent seem to end too."""
        with contextlib.suppress(Exception):
            if not self._is_main and self._thread == (os.getpid(), threading.get_ident()):
                self.leave_all(None)

    def leave_all(self, error: BaseException | None) -> None:
        """The script, or its part that is a loop, is over."""
        self._step = None
        self._scopes.leave_all(error)

    def is_in_session(self) -> bool:
        """Whether all that is open was begun while a session ran: a child's begins with the first phase."""
        return self._scopes.are_open

    # Fetches

    def fetch_begins(self, iterator: Any) -> None:
        """A batch is about to be fetched."""
        batches = self._batches(iterator)
        trains = self._is_for_training(batches)
        begins = not batches.fetches or batches.is_exhausted
        batches.fetches = 1 if begins else batches.fetches + 1
        batches.is_exhausted = batches.was_looked_at = False
        batches.is_unsorted = begins and trains is None
        batches.is_without_gradients = not torch.is_grad_enabled()
        self._last = batches
        if batches.trains is None and batches not in self._unproven:
            self._unproven.append(batches)
        if trains:
            self._fetch_for_training(batches, begins)
        elif trains is False:
            self._enter_evaluate()
        elif self._step is not None and self._is_over_at_a_fetch(self._step):
            self._leave_step()

    def fetch_found_the_end(self) -> None:
        """The fetch that began last found no batch."""
        batches = self._last
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

    def _batches(self, iterator: Any) -> Batches:
        ident = id(iterator)
        batches = self._iterators.get(ident)
        if batches is None or batches.is_of() is not iterator:
            for gone in [each for each, known in self._iterators.items() if known.is_of() is None]:
                del self._iterators[gone]
            batches = self._iterators[ident] = Batches(iterator)
        return batches

    def _is_for_training(self, batches: Batches) -> bool | None:
        """Whether the next batch will be; None where nothing speaks for either."""
        if not torch.is_grad_enabled():
            return False
        if batches.trains is not None:
            return batches.trains
        if batches.was_looked_at:
            return False
        mode = self._mode()
        use = self._uses.get(batches.loader, self._uses.get(batches.dataset))
        if use is not None and use[1] == mode:
            return use[0]
        if mode is not None:
            # Where others are known to be for training, one that is not may be for anything.
            return None if mode and use is None and any(trains for trains, _ in self._uses.values()) else mode
        return True if self._is_a_loop() and self._own() else None

    def _fetch_for_training(self, batches: Batches, begins: bool) -> None:
        self._scopes.leave("evaluate")
        if "epoch" not in self._scopes or (begins and self._is_new_epoch(batches)):
            self._begin_epoch(batches)
        elif self._step is not None and self._is_over_at_a_fetch(self._step):
            self._leave_step()
        if self._step is None:
            self._enter_step(batches)
        elif self._step.batches is None:
            self._step.batches = batches

    def _begin_epoch(self, batches: Batches) -> None:
        self._leave_step()
        self._scopes.leave("epoch")
        self._scopes.enter("epoch", n=self._epochs)
        self._epochs += 1
        self._of_epoch = batches

    def _is_new_epoch(self, batches: Batches) -> bool:
        """Whether these begin one: not if they come beside those of the epoch, or each iterator is for one batch."""
        of_epoch = self._of_epoch
        if of_epoch is None or of_epoch.is_exhausted or of_epoch is batches:
            return True
        if of_epoch.dataset == batches.dataset and of_epoch.fetches == 1:
            self._of_epoch = batches
            return False
        return of_epoch.dataset == batches.dataset or of_epoch.is_of() is None

    # Forwards

    def forward_begins(self, module: Any, role: Role) -> None:
        """A model is about to be called."""
        is_trained, is_graded = role.is_trained, torch.is_grad_enabled()
        if is_graded and role.by and self._is_a_loop():
            self._optimizers.called(role.by, self.owner)
        own = is_trained and self._own()
        if own:
            self._model = weakref.ref(module)
        trains = vars(module).get("training") is not False
        if not is_graded or (is_trained and not trains and self._evaluates_in_mode):
            self._look(is_trained, trains)
        elif is_trained and (own or self._has_stepped or self._has_had_backward):
            self._train()
        elif is_trained:
            self._scopes.leave("evaluate")

    def _look(self, is_trained: bool, trains: bool) -> None:
        """A forward that no backward follows: of an evaluation, or in the middle of a step."""
        last, step = self._last, self._step
        if "evaluate" not in self._scopes and step is not None:
            is_known = last is not None and last.trains is True
            if not self._is_over(step) and not (step.is_fresh and is_trained and not trains and not is_known):
                if last is not None:
                    last.was_looked_at = step.is_fresh
                return
        self._enter_evaluate()
        self._looks += 1
        self._prove(trains=False)

    def _prove(self, *, trains: bool) -> None:
        """What was fetched lately was for this."""
        for batches in self._unproven:
            batches.trains = trains
            if trains or not batches.is_without_gradients:
                self._uses[batches.loader] = self._uses[batches.dataset] = trains, self._mode()
        self._unproven.clear()

    def _train(self) -> None:
        self._scopes.leave("evaluate")
        if self._step is not None and self._is_by_hand(self._step) and self._is_over(self._step):
            self._leave_step()
        last = self._last
        if self._step is None and last is not None and last.is_unsorted:
            last.is_unsorted = False
            if "epoch" in self._scopes and self._is_new_epoch(last):
                self._begin_epoch(last)
        if self._step is None:
            self._enter_step(None)
        assert self._step is not None
        self._step.forwards += 1

    # Backward passes and steps

    def backward_begins(self) -> None:
        """A backward pass is about to begin: whatever this is, it is training."""
        mode = self._mode()
        if mode is not None:
            self._evaluates_in_mode = mode
        self._scopes.leave("evaluate")
        if self._step is None:
            self._enter_step(None)
        assert self._step is not None
        self._step.backwards += 1
        self._has_had_backward = True
        if self._last is not None and not self._last.trains and self._last not in self._unproven:
            self._unproven.append(self._last)
        self._prove(trains=True)

    def optimizer_made(self, key: int) -> None:
        """An optimizer is about to be known. Where the loop has stepped before, another training begins with it."""
        step = self._step
        if step is not None and step.stepped and self._is_over(step) and self._nothing_tells_of_batches(step):
            self._leave_step()
        if self._has_stepped:
            if key not in self._own():
                self._model = None  # whose mode tells nothing of the one that is trained next
            self._optimizers.retire(self.owner)
        self._idle.discard(key)

    def optimizer_begins(self, key: int) -> None:
        """An optimizer is about to step."""
        self._optimizers.called((key,), self.owner)
        self._scopes.leave("evaluate")
        step = self._step
        if step is not None and key in step.stepped and self._is_by_hand(step) and self._is_over(step):
            self._leave_step()
        if self._step is None:
            self._enter_step(None)

    def optimizer_stepped(self, key: int) -> None:
        """An optimizer has stepped. One that steps twice has overtaken those that have not yet."""
        step = self._step
        self._has_stepped = True
        if step is None:
            return
        if key in step.stepped:
            step.stepped_twice = True
            self._idle |= self._own() - step.stepped
        step.stepped.add(key)

    def failed(self) -> None:
        """What was begun last has raised: if the loop goes on, it is with another batch."""
        if self._step is not None:
            self._step.has_failed = True

    # What is open

    def _is_by_hand(self, step: Step) -> bool:
        """Whether no loader tells where the steps begin: there is none, or it gave all of its data at once."""
        return step.batches is None or (step.batches.fetches < 2 and step.stepped_twice)

    def _nothing_tells_of_batches(self, step: Step) -> bool:
        """Whether no fetch will follow: the step is by hand, or its loader was left."""
        return self._is_by_hand(step) or step.batches is None or step.batches.is_of() is None

    def _is_over(self, step: Step) -> bool:
        """Whether every optimizer that steps each time has."""
        if step.stepped:
            return self._optimizers.awaited(self.owner) - self._idle <= step.stepped
        return step.has_failed or (step.backwards > 0 and self._nobody_tells_of_steps(step))

    def _is_over_at_a_fetch(self, step: Step) -> bool:
        return bool(step.stepped) or self._is_over(step)

    def _nobody_tells_of_steps(self, step: Step) -> bool:
        return not self._has_stepped and (not self._own() or step.backwards >= _MANY)

    def _mode(self) -> bool | None:
        """Whether the model that was called last is in training mode."""
        model = None if self._model is None else self._model()
        return None if model is None else vars(model).get("training")

    def _enter_step(self, batches: Batches | None) -> None:
        self._scopes.enter("step")
        self._step = Step(batches)

    def _leave_step(self, error: BaseException | None = None) -> None:
        self._step = None
        self._scopes.leave("step", error)

    def _enter_evaluate(self) -> None:
        self._leave_step()
        if "evaluate" not in self._scopes and self._is_a_loop():
            self._scopes.enter("evaluate")
            self._looks = 0

    def _is_a_loop(self) -> bool:
        """Whether this thread is one that trains or evaluates, and not a helper that fetches or serves."""
        return self._is_main or self._has_had_backward or bool(self._own())

    def _own(self) -> AbstractSet[int]:
        """The optimizers that this loop made, or trains with."""
        return self._optimizers.of(self.owner)
