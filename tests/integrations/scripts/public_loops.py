"""Shapes of loops that public programs have, acted out: a line of each program that matters here, and no more.

None of them knows anything of phasescope.
"""

# mypy: ignore-errors

from __future__ import annotations

import contextlib
import copy
import itertools

import torch
from looping import Discriminator, Generator, Net, data, loop, loss_of, step, trained
from torch import nn
from torch.utils.data import DataLoader

from support.scenarios import tell_all


class Chain(torch.utils.data.IterableDataset):
    def __iter__(self):
        while True:
            yield torch.randn(4)


@loop
def lbfgs_over_collocation_points() -> None:
    """Physics-informed: the residual's gradient with respect to the inputs is in the loss."""
    model = Net()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)
    inputs = torch.randn(3, 4, requires_grad=True)

    def closure():
        optimizer.zero_grad()
        (slope,) = torch.autograd.grad(model(inputs).sum(), inputs, create_graph=True)
        loss = slope.square().sum()
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)


@loop
def functional_with_grad() -> None:
    model = Net()
    parameters = dict(model.named_parameters())

    def loss(given, inputs):
        return torch.func.functional_call(model, given, (inputs,)).square().mean()

    for inputs in data():
        gradients = torch.func.grad(loss)(parameters, inputs)
        parameters = {name: value - 0.1 * gradients[name] for name, value in parameters.items()}


@loop
def functional_and_evaluated() -> None:
    model = Net()
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(given, inputs):
        return torch.func.functional_call(model, given, (inputs,)).square().mean()

    for _ in range(2):
        for inputs in data():
            gradients, _ = torch.func.grad_and_value(loss)(parameters, inputs)
            parameters = {name: value - 0.1 * gradients[name] for name, value in parameters.items()}
        with torch.no_grad():
            for inputs in data():
                torch.func.functional_call(model, parameters, (inputs,))


@loop
def an_equation_in_the_loss() -> None:
    """Differentiated by what goes in, which is not one of the training's passes."""
    model, optimizer = trained()

    def value(one):
        return torch.func.functional_call(model, dict(model.named_parameters()), (one,)).sum()

    for _ in range(2):
        slopes = torch.func.vmap(torch.func.grad(value))(torch.randn(3, 4))
        optimizer.zero_grad()
        slopes.square().mean().backward()
        optimizer.step()


@loop
def per_sample_gradients_into_an_optimizer() -> None:
    model, optimizer = trained()

    def loss(given, one):
        return torch.func.functional_call(model, given, (one[None],)).square().mean()

    for inputs in data():
        given = {name: value.detach() for name, value in model.named_parameters()}
        each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(given, inputs)
        for name, parameter in model.named_parameters():
            parameter.grad = each[name].mean(0)
        optimizer.step()


@loop
def scaled_and_accumulated_without_sync() -> None:
    model, optimizer = trained()
    scaler = torch.amp.GradScaler("cpu")
    for number, inputs in enumerate(data(8)):
        is_last = number % 2 == 1
        with contextlib.nullcontext(), torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(model(inputs)) / 2
        scaler.scale(loss).backward()
        if is_last:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()


@loop
def language_model_by_hand() -> None:
    """Estimates its loss before the first step and at intervals; the next batch is made while the last one computes."""
    model, optimizer = trained()

    @torch.no_grad()
    def estimate():
        model.eval()
        for _ in range(2):
            for _ in range(2):
                model(torch.randn(2, 4))
        model.train()

    inputs = torch.randn(2, 4)
    for iteration in range(4):
        if iteration % 2 == 0:
            estimate()
        for _ in range(2):
            loss = loss_of(model(inputs)) / 2
            inputs = torch.randn(2, 4)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


class Sharpness(torch.optim.Optimizer):
    def __init__(self, parameters, base):
        super().__init__(parameters, {})
        self.base = base(self.param_groups, lr=0.1)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def first_step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["old"] = parameter.clone()
                parameter.add_(parameter.grad, alpha=0.05)
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.copy_(self.state[parameter]["old"])
        self.base.step()
        self.zero_grad()

    def step(self, closure=None):
        closure = torch.enable_grad()(closure)
        self.first_step()
        closure()
        self.second_step()


@loop
def sharpness_aware_in_two_calls() -> None:
    model = Net()
    optimizer = Sharpness(model.parameters(), torch.optim.SGD)
    for inputs in data():
        loss_of(model(inputs)).backward()
        optimizer.first_step()
        loss_of(model(inputs)).backward()
        optimizer.second_step()


@loop
def sharpness_aware_by_closure() -> None:
    model = Net()
    optimizer = Sharpness(model.parameters(), torch.optim.SGD)
    for inputs in data():
        loss_of(model(inputs)).backward()
        optimizer.step(lambda inputs=inputs: loss_of(model(inputs)).backward())


@loop
def deep_q_learning() -> None:
    policy, optimizer = trained()
    target = Net()
    target.load_state_dict(policy.state_dict())
    memory = []
    for _number in range(6):
        with torch.no_grad():
            memory.append(policy(torch.randn(1, 4)))
        if len(memory) < 3:
            continue
        values = policy(torch.randn(2, 4))
        with torch.no_grad():
            following = target(torch.randn(2, 4))
        loss = (values - following).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for ours, theirs in zip(target.parameters(), policy.parameters(), strict=True):
            ours.data.lerp_(theirs.data, 0.1)


@loop
def meta_learning() -> None:
    model, optimizer = trained()
    for _ in range(2):
        total = 0
        for _ in range(2):
            fast = dict(model.named_parameters())
            inner = torch.func.functional_call(model, fast, (torch.randn(2, 4),)).square().mean()
            gradients = torch.autograd.grad(inner, list(fast.values()), create_graph=True)
            fast = {name: value - 0.1 * each for (name, value), each in zip(fast.items(), gradients, strict=True)}
            total = total + torch.func.functional_call(model, fast, (torch.randn(2, 4),)).square().mean()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()


@loop
def momentum_contrast() -> None:
    model, optimizer = trained()
    keys = copy.deepcopy(model)
    for inputs in data():
        query = model(inputs)
        with torch.no_grad():
            for ours, theirs in zip(keys.parameters(), model.parameters(), strict=True):
                ours.lerp_(theirs, 0.1)
            key = keys(inputs)
        loss = (query * key).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@loop
def adversarial_examples() -> None:
    model, optimizer = trained()
    for inputs in data():
        attacked = inputs.clone()
        for _ in range(2):
            attacked.requires_grad_()
            (slope,) = torch.autograd.grad(loss_of(model(attacked)), attacked)
            attacked = (attacked + 0.1 * slope.sign()).detach()
        step(model, optimizer, attacked)


@loop
def cached_gradients() -> None:
    """Large contrastive batches: representations without a graph first, then each chunk again with one."""
    model, optimizer = trained()
    for inputs in data(8):
        with torch.no_grad():
            representations = torch.cat([model(chunk) for chunk in inputs.split(1)])
        representations.requires_grad_()
        representations.square().mean().backward()
        for chunk, gradient in zip(inputs.split(1), representations.grad.split(1), strict=True):
            (model(chunk) * gradient).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@loop
def truncated_back_propagation() -> None:
    model = nn.GRU(4, 4)
    optimizer = torch.optim.Adam(model.parameters())
    hidden = torch.zeros(1, 2, 4)
    for _ in range(3):
        output, hidden = model(torch.randn(3, 2, 4), hidden.detach())
        optimizer.zero_grad()
        output.square().mean().backward()
        optimizer.step()


@loop
def a_loader_begun_anew_at_its_end() -> None:
    model, optimizer = trained()
    loader = data()
    batches = iter(loader)
    for _ in range(5):
        try:
            inputs = next(batches)
        except StopIteration:
            batches = iter(loader)
            inputs = next(batches)
        step(model, optimizer, inputs)


@loop
def endless_data_and_a_look_at_intervals() -> None:
    model, optimizer = trained()
    held_out = data(6)
    for number, inputs in enumerate(DataLoader(Chain(), batch_size=2)):
        step(model, optimizer, inputs)
        if number % 2 == 1:
            model.eval()
            with torch.no_grad():
                for at, batch in enumerate(held_out):
                    if at == 2:
                        break
                    model(batch)
            model.train()
        if number == 3:
            break


@loop
def two_optimizers_of_one_model() -> None:
    model = Net()
    matrices = torch.optim.SGD([p for p in model.parameters() if p.ndim == 2], lr=0.1)
    others = torch.optim.Adam([p for p in model.parameters() if p.ndim < 2])
    for _ in range(3):
        for _ in range(2):
            loss_of(model(torch.randn(2, 4))).backward()
        for optimizer in (matrices, others):
            optimizer.step()
        model.zero_grad(set_to_none=True)


@loop
def two_optimizers_in_turn_by_epoch() -> None:
    model = Net()
    both = [torch.optim.SGD(model.body.parameters(), lr=0.1), torch.optim.SGD(model.head.parameters(), lr=0.1)]
    loader = data()
    for optimizer in both:
        for inputs in loader:
            step(model, optimizer, inputs)


class Trainer:
    def __init__(self):
        self.model, self.optimizer = trained()
        self.loader, self.held_out = data(), data()

    def fit(self):
        self.validate()
        for _ in range(2):
            self.model.train()
            for inputs in self.loader:
                self.batch(inputs)
            self.validate()

    def batch(self, inputs):
        self.optimizer.zero_grad()
        loss = loss_of(self.model(inputs))
        loss.backward()
        self.optimizer.step()

    def validate(self):
        self.model.eval()
        for inputs in self.held_out:
            with torch.no_grad():
                self.model(inputs)


@loop
def a_trainer_that_validates_first() -> None:
    Trainer().fit()


def endless(loader):
    while True:
        yield from loader


@loop
def closures_over_batches() -> None:
    """Only the closure calls the model while it trains, and the evaluation is the first to call it otherwise."""
    model = Net()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2, lr=0.1)
    loader, held_out = data(), torch.randn(3, 4)
    for _ in range(2):
        for inputs in loader:

            def closure(inputs=inputs):
                optimizer.zero_grad()
                loss = loss_of(model(inputs))
                loss.backward()
                return loss

            optimizer.step(closure)
        with torch.no_grad():
            model(held_out)


@loop
def endless_data_that_end_amid_an_accumulation() -> None:
    model, optimizer = trained()
    batches = endless(data(6))
    for _ in range(2):
        model.train()
        for _ in range(4):
            (loss_of(model(next(batches))) / 4).backward()
        optimizer.step()
        optimizer.zero_grad()


@loop
def endless_data_from_which_is_fetched_before_the_mode_is_set() -> None:
    model, optimizer = trained()
    held_out = endless(data(2))
    for inputs in itertools.islice(endless(data()), 4):
        model.train()
        step(model, optimizer, inputs)
        model.eval()
        with torch.no_grad():
            model(next(held_out))


@loop
def accumulated_with_a_rest() -> None:
    """What the last batch of an epoch leaves is no part of the next one's steps: the loop over the data has ended."""
    model, optimizer = trained()
    loader = data(6)
    for _ in range(2):
        for number, inputs in enumerate(loader):
            loss_of(model(inputs)).backward()
            if number % 2 == 1:
                optimizer.step()
                optimizer.zero_grad()


@loop
def an_actor_that_is_trained_in_every_second_turn() -> None:
    """With a temperature of its own, and twice then (soft actor-critic)."""
    actor, critic, heat = Generator(), Discriminator(), torch.zeros(1, requires_grad=True)
    for_critic, for_actor = (torch.optim.Adam(model.parameters()) for model in (critic, actor))
    for_heat = torch.optim.Adam([heat])
    states = torch.randn(2, 4)
    for number in range(4):
        actor(states[:1])
        with torch.no_grad():
            wanted = actor(states)
        step(critic, for_critic, wanted)
        if number % 2 == 1:
            for _ in range(2):
                for_actor.zero_grad()
                critic(actor(states)).mean().backward()
                for_actor.step()
                with torch.no_grad():
                    chance = actor(states)
                for_heat.zero_grad()
                (heat.exp() * chance).mean().backward()
                for_heat.step()


@loop
def folds_that_take_turns() -> None:
    """All models and optimizers are made before, and parts of one data set are for either."""
    rows = torch.randn(4, 4)
    folds = [trained(Generator()) for _ in range(2)]

    def part(numbers):
        return DataLoader(rows, batch_size=2, sampler=torch.utils.data.SubsetRandomSampler(numbers))

    def train(model, optimizer, loader):
        model.train()
        for inputs in loader:
            step(model, optimizer, inputs)

    def validate(model, loader):
        model.eval()
        with torch.no_grad():
            for inputs in loader:
                model(inputs)

    for _ in range(2):
        for number, (model, optimizer) in enumerate(folds):
            train(model, optimizer, part(range(2 * number, 2 * number + 2)))
            validate(model, part(range(2 - 2 * number, 4 - 2 * number)))


@loop
def tensors_without_a_model_or_an_optimizer() -> None:
    weights = torch.randn(4, 1, requires_grad=True)
    for _ in range(3):
        weights.grad = None
        (torch.randn(2, 4) @ weights).square().mean().backward()
        weights.data -= 0.1 * weights.grad


class Endless(DataLoader):
    """One iterator for all passes, whose workers stay (timm, Ultralytics)."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        object.__setattr__(self, "batch_sampler", Repeated(self.batch_sampler))
        self.iterator = None

    def __len__(self):
        return len(self.batch_sampler.sampler)

    def __iter__(self):
        if self.iterator is None:
            self.iterator = self._get_iterator()
        for _ in range(len(self)):
            yield next(self.iterator)


class Repeated:
    def __init__(self, sampler):
        self.sampler = sampler

    def __iter__(self):
        while True:
            yield from iter(self.sampler)


@loop
def passes_over_an_endless_iterator() -> None:
    """Gradients are accumulated across the end of a pass."""
    model, optimizer = trained()
    loader, held_out = Endless(torch.randn(8, 4), batch_size=2), Endless(torch.randn(2, 4), batch_size=2)
    number = 0
    for _ in range(3):
        model.train()
        for inputs in loader:
            loss_of(model(inputs)).backward()
            number += 1
            if number % 3 == 0:
                optimizer.step()
                optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            for inputs in held_out:
                model(inputs)


@loop
def passes_over_an_endless_iterator_alone() -> None:
    model, optimizer = trained()
    for _, loader in itertools.product(range(2), [Endless(torch.randn(4, 4), batch_size=2)]):
        for inputs in loader:
            step(model, optimizer, inputs)


@loop
def one_batch_of_an_endless_iterator_at_a_time() -> None:
    model, optimizer = trained()
    loader = Endless(torch.randn(4, 4), batch_size=2)
    for _ in range(5):
        step(model, optimizer, next(iter(loader)))


@loop
def evaluated_amid_an_accumulation() -> None:
    model, optimizer = trained()
    loader, held_out = data(12), data()
    for _ in range(2):
        for number, inputs in enumerate(loader, 1):
            model.train()
            loss_of(model(inputs)).backward()
            if number % 3 == 0:
                optimizer.step()
                optimizer.zero_grad()
            if number % 2 == 0:
                model.eval()
                with torch.no_grad():
                    for each in held_out:
                        model(each)


@loop
def loaders_that_are_looked_into_before() -> None:
    """For a sampler's state, and for a picture of the first batch."""
    model, optimizer = trained()
    loader, held_out = data(), data()
    for each in (held_out, loader):
        for _ in each:
            break
    for _ in range(2):
        model.train()
        for inputs in loader:
            step(model, optimizer, inputs)
        model.eval()
        with torch.no_grad():
            for inputs in held_out:
                model(inputs)


@loop
def trainings_without_an_optimizer() -> None:
    """The second has a loader and is left early; the third has none."""

    def descend(model, inputs):
        loss_of(model(inputs)).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
                parameter.grad = None

    first, second, third = Net(), Generator(), Discriminator()
    for _ in range(2):
        descend(first, torch.randn(2, 4))
    for number, inputs in enumerate(data(8)):
        descend(second, inputs)
        if number == 1:
            break
    for _ in range(2):
        descend(third, torch.randn(2, 4))


@loop
def a_training_without_an_optimizer_after_one_with() -> None:
    model, optimizer = trained()
    for _ in range(2):
        step(model, optimizer, torch.randn(2, 4))
    other = Discriminator()
    for inputs in data():
        loss_of(other(inputs)).backward()
        other.zero_grad()
    for _ in range(2):
        loss_of(other(torch.randn(2, 4))).backward()
        other.zero_grad()


@loop
def a_model_is_called_after_a_loop_without_an_optimizer() -> None:
    model = Net()
    for inputs in data(8):
        loss_of(model(inputs)).backward()
        if model.zero_grad() is None:
            break
    Generator()(torch.randn(2, 4))


@loop
def models_given_what_is_trained() -> None:
    """Pictures, through a model that stays as it is; so it is with meta-learning, whose model has no parameters."""
    for _ in range(2):
        picture = torch.nn.Parameter(torch.zeros(2, 4))
        optimizer = torch.optim.Adam([picture])
        model = Discriminator()
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model(picture)).backward()
            optimizer.step()


class Told(Net):
    def forward(self, inputs, training=None):
        return super().forward(inputs)


@loop
def evaluation_that_is_told_by_an_argument() -> None:
    model, optimizer = trained(Told())
    loader, held_out = data(), data()
    for _ in range(2):
        for inputs in loader:
            step(model, optimizer, inputs)
        for inputs in held_out:
            model(inputs, training=False)


@loop
def predictions_with_gradients_after_two_layers_were_trained_by_themselves() -> None:
    """The optimizer of the first never steps while the second is trained."""
    layers = [trained(Generator()), trained(Discriminator())]
    for model, optimizer in layers:
        for _ in range(2):
            step(model, optimizer, torch.randn(2, 4))
    for model, _ in layers:
        model(torch.randn(2, 4))


@loop
def evaluation_that_is_told_by_an_argument_without_an_optimizer() -> None:
    model = Told()
    loader, held_out = data(), data()
    for _ in range(2):
        for inputs in loader:
            loss_of(model(inputs)).backward()
        for inputs in held_out:
            model(inputs, training=False)


tell_all()
