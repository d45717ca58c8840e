"""Loops as people write them, under what `phasescope run` does: their phases, in a few lines each.

None of them knows anything of phasescope.
"""

# mypy: ignore-errors

from __future__ import annotations

import concurrent.futures
import contextlib
import copy
import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

import torch
from looping import Discriminator, Generator, Net, data, forget_optimizers, loop, loss_of, step, trained
from phasescope.integrations import _auto, _torch_here
from torch import nn
from torch.utils.data import DataLoader

import phasescope
from support.scenarios import notes, phases, scenario, tell_all
from support.waiting import CEILING_S


@loop
def epochs_with_evaluation() -> None:
    model, optimizer = trained()
    training, validation = data(), data()
    for _ in range(2):
        model.train()
        for inputs in training:
            step(model, optimizer, inputs)
        model.eval()
        with torch.no_grad():
            for inputs in validation:
                model(inputs)


@loop
def evaluation_that_is_told_by_the_mode_alone() -> None:
    """`no_grad` stands inside of the loop, as in many examples."""
    model, optimizer = trained()
    training, validation = data(), data()
    for _ in range(2):
        model.train()
        for inputs in training:
            step(model, optimizer, inputs)
        model.eval()
        for inputs in validation:
            with torch.no_grad():
                model(inputs)


@loop
def evaluation_on_the_data_that_are_trained_on() -> None:
    """Another loader over the same dataset, no `eval()`."""
    model, optimizer = trained()
    loader = data()
    again = DataLoader(loader.dataset, batch_size=4)
    for _ in range(2):
        for inputs in loader:
            step(model, optimizer, inputs)
        with torch.no_grad():
            for inputs in again:
                model(inputs)


@loop
def evaluation_by_the_loader_that_is_trained_on() -> None:
    model, optimizer = trained()
    loader = data()
    for _ in range(2):
        for inputs in loader:
            step(model, optimizer, inputs)
        with torch.no_grad():
            for inputs in loader:
                model(inputs)


@loop
def engines() -> None:
    """As ignite's: one function runs trainings and evaluations, and the mode is set once the batch is there."""

    def run(epochs, loader, process, *handlers):
        for _ in range(epochs):
            for inputs in loader:
                process(inputs)
            for handler in handlers:
                handler()

    def train(inputs):
        model.train()
        step(model, optimizer, inputs)

    def evaluate(inputs):
        model.eval()
        with torch.no_grad():
            model(inputs)

    model, optimizer = trained()
    loader, validation = data(), data(6)
    run(3, loader, train, lambda: run(1, loader, evaluate), lambda: run(1, validation, evaluate))


@loop
def evaluation_without_no_grad() -> None:
    model, optimizer = trained()
    for inputs in data():
        step(model, optimizer, inputs)
    model.eval()
    for inputs in data():
        model(inputs)


@loop
def evaluation_of_an_averaged_copy() -> None:
    model, optimizer = trained()
    training, validation = data(), data(6)
    for _ in range(2):
        for inputs in training:
            step(model, optimizer, inputs)
        copied = copy.deepcopy(model).eval()
        for inputs in validation:
            with torch.inference_mode():
                copied(inputs)


@loop
def batches_by_hand() -> None:
    """As nanoGPT: the optimizer first, then the compiler; gradients accumulated; an evaluation now and then."""
    model, optimizer = trained()
    compiled = torch.compile(model, backend="aot_eager")

    @torch.no_grad()
    def estimate() -> None:
        compiled.eval()
        for _ in range(2):
            compiled(torch.randn(2, 4))
        compiled.train()

    for n in range(3):
        if n != 1:
            estimate()
        for _ in range(2):
            (loss_of(compiled(torch.randn(2, 4))) / 2).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


class Agent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(4, 2))
        self.critic = nn.Sequential(nn.Linear(4, 1))

    def evaluate_actions(self, seen: torch.Tensor) -> torch.Tensor:
        return self.actor(seen).sum() + self.critic(seen).sum()


@loop
def policy_gradients() -> None:
    """As PPO: a rollout without gradients, then a few updates; never the model itself is called."""
    agent, optimizer = trained(Agent())
    for _ in range(2):
        for _ in range(2):
            with torch.no_grad():
                agent.actor(torch.randn(1, 4))
        for _ in range(2):
            agent.evaluate_actions(torch.randn(2, 4)).backward()
            optimizer.step()


@loop
def a_picture_is_trained() -> None:
    """Style transfer: what is optimised belongs to no module."""
    picture = torch.randn(2, 4, requires_grad=True)
    frozen = Net().requires_grad_(requires_grad=False).eval()
    optimizer = torch.optim.Adam([picture])
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(frozen(picture)).backward()
        optimizer.step()


@loop
def closures() -> None:
    model = Net()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2, max_eval=2)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model(torch.ones(2, 4)))
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)


@loop
def a_step_by_hand() -> None:
    model = Net()
    for inputs in data(6):
        loss_of(model(inputs)).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
                parameter.grad = None


class OwnOptimizer:
    """Looks like an optimizer, and is not one of torch's."""

    def __init__(self, params: Any) -> None:
        self.params = list(params)

    def zero_grad(self) -> None:
        for parameter in self.params:
            parameter.grad = None

    def step(self) -> None:
        with torch.no_grad():
            for parameter in self.params:
                parameter -= 0.1 * parameter.grad


@loop
def an_optimizer_of_its_own() -> None:
    model = Net()
    optimizer = OwnOptimizer(model.parameters())
    for inputs in data(6):
        step(model, optimizer, inputs)


@loop
def an_optimizer_that_overrides_step() -> None:
    class Plain(torch.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {})

        def step(self) -> None:  # type: ignore[override]
            with torch.no_grad():
                for parameter in self.param_groups[0]["params"]:
                    parameter -= 0.1 * parameter.grad

    model = Net()
    optimizer = Plain(model.parameters())
    for _ in range(2):
        step(model, optimizer, torch.randn(2, 4))


@loop
def inference() -> None:
    """No optimizer at all."""
    model = Net().eval()
    for inputs in data(6):
        with torch.no_grad():
            model(inputs)


@loop
def inference_in_no_grad() -> None:
    model = Net().eval()
    with torch.inference_mode():
        for inputs in data():
            model(inputs)


@loop
def inner_model_of_a_wrapper() -> None:
    """timm: training calls the wrapper, the evaluation what is in it."""
    model, optimizer = trained()
    wrapper = nn.Sequential(model)
    step(wrapper, optimizer, torch.randn(2, 4))
    model.eval()
    with torch.no_grad():
        model(torch.randn(2, 4))


@loop
def scripted() -> None:
    model, optimizer = trained(torch.jit.script(Net()))
    for _ in range(2):
        step(model, optimizer, torch.randn(2, 4))


@loop
def two_networks() -> None:
    """As the DCGAN of the PyTorch examples."""
    generator, discriminator = Generator(), Discriminator()
    of_g, of_d = torch.optim.Adam(generator.parameters()), torch.optim.Adam(discriminator.parameters())
    for real in data():
        discriminator.zero_grad()
        loss_of(discriminator(real)).backward()
        fake = generator(torch.randn(2, 4))
        loss_of(discriminator(fake.detach())).backward()
        of_d.step()
        generator.zero_grad()
        loss_of(discriminator(fake)).backward()
        of_g.step()


@loop
def two_networks_of_one_class() -> None:
    """As the critics of SAC, of which a copy is kept, and one that is made again for each step and dropped."""
    first, second = Discriminator(), torch.compile(Discriminator(), backend="eager")
    of_first, of_second = (torch.optim.Adam(network.parameters()) for network in (first, second))
    for _ in range(2):
        step(first, of_first, torch.ones(2, 4))
        step(second, of_second, torch.ones(2, 4))
        with torch.no_grad():
            second._orig_mod(torch.ones(2, 4))
            copy.deepcopy(first)(torch.ones(2, 4))


@loop
def two_networks_by_hand() -> None:
    generator, discriminator = Generator(), Discriminator()
    of_g, of_d = torch.optim.Adam(generator.parameters()), torch.optim.Adam(discriminator.parameters())
    for _ in range(2):
        with torch.no_grad():
            fake = generator(torch.randn(2, 4))
        step(discriminator, of_d, fake)
        of_g.zero_grad()
        loss_of(discriminator(generator(torch.randn(2, 4)))).backward()
        of_g.step()


@loop
def distillation() -> None:
    teacher = Discriminator().eval()
    model, optimizer = trained()
    for inputs in data():
        with torch.no_grad():
            teacher(inputs)
        step(model, optimizer, inputs)


@loop
def accumulated() -> None:
    model, optimizer = trained()
    for n, inputs in enumerate(data(8)):
        loss_of(model(inputs)).backward()
        if n % 2:
            optimizer.step()
            optimizer.zero_grad()


@loop
def two_loaders_at_once() -> None:
    model, optimizer = trained()
    labelled, unlabelled = data(), data(8)
    for _ in range(2):
        for one, two in zip(labelled, unlabelled, strict=False):
            step(model, optimizer, one + two)


@loop
def a_new_iterator_for_each_batch() -> None:
    model, optimizer = trained()
    loader = data()
    for _ in range(3):
        step(model, optimizer, next(iter(loader)))


@loop
def all_data_at_once() -> None:
    model, optimizer = trained()
    inputs = next(iter(data(2)))
    for _ in range(4):
        step(model, optimizer, inputs)


@loop
def left_early_and_evaluated() -> None:
    model, optimizer = trained()
    for inputs in data(6):
        step(model, optimizer, inputs)
        break
    model.eval()
    with torch.no_grad():
        model(torch.randn(2, 4))


@loop
def a_batch_that_fails_is_skipped() -> None:
    model, optimizer = trained()
    for n, inputs in enumerate(data(6)):
        with contextlib.suppress(RuntimeError):
            step(model, optimizer, inputs[:, :3] if n == 0 else inputs)


@loop
def interrupted() -> None:
    model, optimizer = trained()
    for inputs in data():
        step(model, optimizer, inputs)
        raise KeyboardInterrupt


@loop
def interrupted_behind_the_loop() -> None:
    """As by an error in a plot: that is not in the last step."""
    model, optimizer = trained()
    for _ in range(3):
        step(model, optimizer, torch.randn(2, 4))
    raise KeyboardInterrupt


@loop
def interrupted_behind_a_loader_that_was_left() -> None:
    model, optimizer = trained()
    for number, inputs in enumerate(data()):
        step(model, optimizer, inputs)
        if number:
            break
    raise KeyboardInterrupt


@loop
def work_behind_the_loop() -> None:
    """Accumulated, with some left over; the work behind it is in none of its steps, nor in those of the next."""
    model, optimizer = trained()
    for number in range(3):
        loss_of(model(torch.randn(2, 4))).backward()
        if number % 2:
            optimizer.step()
    _until_ended("step")
    for _ in range(2):
        step(model, optimizer, torch.randn(2, 4))
    _until_ended("step")


def _until_ended(name: str) -> None:
    """Wait until the last phase that ended is of this name; the sampler sees that its loop was left."""
    session = phasescope.current()
    deadline = time.monotonic() + CEILING_S
    while True:
        ends = [event for event in session.events(8) if event["event_type"] == "phase_exit"]
        if ends and ends[-1]["metadata"]["phase_scope"]["path"][-1] == name:
            return
        assert time.monotonic() < deadline, f"{name} does not end"
        time.sleep(0.01)


@loop
def an_optimizer_for_each_batch() -> None:
    model = Net()
    for _ in range(3):
        step(model, torch.optim.Adam(model.parameters()), torch.randn(2, 4))


@loop
def a_step_in_the_backward_pass() -> None:
    model = Net()
    optimizers = {parameter: torch.optim.SGD([parameter], lr=0.1) for parameter in model.parameters()}

    def stepped(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(stepped)
    for _ in range(3):
        loss_of(model(torch.randn(2, 4))).backward()


@loop
def gradients_by_grad() -> None:
    """With a penalty on gradients, which belongs to the loss."""
    model = Net()
    parameters = list(model.parameters())
    inputs = torch.randn(2, 4, requires_grad=True)
    for _ in range(2):
        output = model(inputs).sum()
        (penalty,) = torch.autograd.grad(output, inputs, create_graph=True)
        gradients = torch.autograd.grad(output + penalty.pow(2).sum(), parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.1 * gradient


@loop
def a_perceptual_loss() -> None:
    frozen = Discriminator().requires_grad_(requires_grad=False).eval()
    model, optimizer = trained(Generator())
    for inputs in data():
        optimizer.zero_grad()
        loss_of(frozen(model(inputs))).backward()
        optimizer.step()


@loop
def looked_ahead() -> None:
    """accelerate's loaders fetch a batch before they give the last one."""

    def ahead(loader: Any) -> Any:
        batches = iter(loader)
        current = next(batches)
        for following in itertools.chain(batches, [None]):
            yield current
            current = following

    model, optimizer = trained()
    for _ in range(2):
        for inputs in ahead(data()):
            step(model, optimizer, inputs)


class AroundAnother:
    """As the optimizers of several frameworks: it steps when it is time."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.calls = 0

    def zero_grad(self) -> None:
        if self.calls % 2 == 0:
            self.optimizer.zero_grad()

    def step(self) -> None:
        self.calls += 1
        if self.calls % 2 == 0:
            self.optimizer.step()


@loop
def an_optimizer_around_another() -> None:
    model, inner = trained()
    optimizer = AroundAnother(inner)
    for inputs in data(8):
        step(model, optimizer, inputs)


@loop
def a_model_of_keras() -> None:
    """Its layers are modules too, and its optimizer is not one of torch's."""
    os.environ.update(KERAS_BACKEND="torch", KERAS_HOME=str(Path.cwd() / "keras"))
    import keras

    model = keras.Sequential([keras.layers.Dense(3, activation="relu"), keras.layers.Dense(1)])
    model.build((None, 4))
    optimizer = keras.optimizers.SGD(0.1)
    for _ in range(2):
        loss_of(model(torch.randn(2, 4))).backward()
        weights = model.trainable_weights
        with torch.no_grad():
            optimizer.apply([weight.value.grad for weight in weights], weights)
        model.zero_grad()


@loop
def accelerated() -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    model, optimizer, training, validation = accelerator.prepare(*trained(), data(8), data())
    for _ in range(2):
        model.train()
        for inputs in training:
            with accelerator.accumulate(model):
                accelerator.backward(loss_of(model(inputs)))
                optimizer.step()
                optimizer.zero_grad()
        model.eval()
        for inputs in validation:
            with torch.no_grad():
                model(inputs)


@loop
def generated() -> None:
    """Everything of a language model in transformers: a training by hand, and then texts."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model, optimizer = trained(GPT2LMHeadModel(GPT2Config(vocab_size=8, n_positions=8, n_embd=8, n_layer=1, n_head=1)))
    tokens = torch.ones(1, 4, dtype=torch.long)
    for _ in range(2):
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
    model.eval()
    model.generate(tokens, max_new_tokens=3, do_sample=False, eos_token_id=None, pad_token_id=0)


@loop
def after_an_interrupt_in_the_middle_of_a_mark() -> None:
    _torch_here.here.busy = True
    model, optimizer = trained()
    for inputs in data(2):
        step(model, optimizer, inputs)


@loop
def instrumented_in_the_middle() -> None:
    from phasescope.integrations.torch import instrument

    model, optimizer = trained()
    for inputs in data(2):
        step(model, optimizer, inputs)
    with instrument(model, optimizer):
        step(model, optimizer, inputs)
    step(model, optimizer, inputs)


@scenario
def another_session() -> Any:
    """The script ends the session that runs, and begins one."""
    forget_optimizers()
    model, optimizer = trained()
    batches = iter(data())
    with phasescope.start():
        step(model, optimizer, next(batches))
    with phasescope.start() as session:
        step(model, optimizer, next(batches))
        _auto.script_ended(None)
        return phases(session), notes(session)


@loop
def a_model_that_compares_and_hashes_as_it_likes() -> None:
    class Odd(Net):
        __hash__ = nn.Module.__hash__

        def __eq__(self, other: object) -> bool:
            raise AssertionError("asked")

    model, optimizer = trained(Odd())
    for _ in range(2):
        step(model, optimizer, torch.randn(2, 4))


@loop
def a_network_that_comes_later() -> None:
    """Names are decided again when an optimizer is made for other parameters, and only then."""
    generator, of_g = trained(Generator())
    step(generator, of_g, torch.randn(2, 4))
    discriminator, of_d = trained(Discriminator())
    for _ in range(2):
        step(discriminator, of_d, generator(torch.randn(2, 4)).detach())
        step(generator, of_g, torch.randn(2, 4))


@loop
def new_data_for_each_epoch() -> None:
    model, optimizer = trained()
    for loader in [data(), data(), data()]:
        for inputs in loader:
            step(model, optimizer, inputs)


@loop
def a_penalty_on_gradients() -> None:
    """As WGAN-GP, whose generator steps every other batch."""
    generator, discriminator = Generator(), Discriminator()
    of_g, of_d = torch.optim.Adam(generator.parameters()), torch.optim.Adam(discriminator.parameters())
    for n, real in enumerate(data()):
        fake = generator(torch.randn(2, 4)).detach()
        between = (real + fake).requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
        of_d.zero_grad()
        (discriminator(fake).mean() - discriminator(real).mean() + gradient.pow(2).sum()).backward()
        of_d.step()
        if n == 1:
            of_g.zero_grad()
            (-discriminator(generator(torch.randn(2, 4))).mean()).backward()
            of_g.step()


@loop
def a_new_model_for_each_fold() -> None:
    """As a cross-validation that keeps its models; a scheduler and its optimizer hold each other."""
    kept = []
    for _ in range(2):
        model, optimizer = trained()
        kept.append((model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 1)))
        for inputs in data():
            step(model, optimizer, inputs)
        model.eval()
        with torch.no_grad():
            model(torch.randn(2, 4))


def trials(*, evaluate: bool) -> None:
    kept = []
    for _ in range(2):
        model, optimizer = trained()
        kept.append((model, optimizer))
        for _ in range(2):
            step(model, optimizer, torch.randn(2, 4))
        if evaluate:
            with torch.no_grad():
                model(torch.randn(2, 4))


@loop
def trials_by_hand() -> None:
    trials(evaluate=False)


@loop
def trials_that_are_evaluated() -> None:
    trials(evaluate=True)


@loop
def trials_of_two_networks() -> None:
    kept = []
    for _ in range(2):
        generator, discriminator = Generator(), Discriminator()
        of_g, of_d = torch.optim.Adam(generator.parameters()), torch.optim.Adam(discriminator.parameters())
        kept.append((of_g, of_d))
        for _ in range(2):
            step(discriminator, of_d, generator(torch.randn(2, 4)).detach())
            step(generator, of_g, torch.randn(2, 4))


@loop
def more_layers_are_trained_later() -> None:
    model = Net()
    head = torch.optim.Adam(model.head.parameters())
    for _ in range(2):
        step(model, head, torch.randn(2, 4))
    whole = torch.optim.Adam(model.parameters())
    for _ in range(2):
        step(model, whole, torch.randn(2, 4))


@loop
def trained_in_a_thread() -> None:
    """The main one has made the optimizer, and waits."""
    model, optimizer = trained()

    def train() -> None:
        for _ in range(3):
            step(model, optimizer, torch.randn(2, 4))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    step(model, optimizer, torch.randn(2, 4))


@loop
def trained_in_two_threads_in_turn() -> None:
    turns = [threading.Semaphore(1), threading.Semaphore(0)]

    def train(number: int) -> None:
        for n in range(3):
            assert turns[number].acquire(timeout=CEILING_S)
            if n == 0:
                model, optimizer = trained()
            step(model, optimizer, torch.randn(2, 4))
            turns[1 - number].release()

    threads = [threading.Thread(target=train, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@loop
def a_thread_serves_while_another_trains() -> None:
    """Without `no_grad`, as it happens: what never trains has no step."""
    model, optimizer = trained()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            step(model, optimizer, torch.randn(2, 4))
            pool.submit(model, torch.randn(2, 4)).result()


@loop
def shapes_are_asked_for() -> None:
    """Nothing is computed of meta tensors."""
    model, optimizer = trained()
    copy.deepcopy(model).to("meta")(torch.empty(2, 4, device="meta"))
    step(model, optimizer, torch.randn(2, 4))


tell_all()
