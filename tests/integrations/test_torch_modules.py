"""What memory is made of, by submodule: it adds up to the whole, and is what torch's own MemTracker finds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import phasescope

torch: Any = pytest.importorskip("torch")

from phasescope.integrations._torch_modules import smallest  # noqa: E402
from phasescope.integrations.torch import instrument  # noqa: E402

if TYPE_CHECKING:
    from phasescope.analysis.categories import Categories

WIDTH, LENGTH, BATCH = 8, 6, 4


class Blocks(torch.nn.Module):  # type: ignore[misc]
    """Two equal blocks between an embedding and a head; the model itself saves a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(20, WIDTH)
        self.blocks = torch.nn.ModuleList(
            torch.nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, dropout=0.0, batch_first=True) for _ in range(2)
        )
        self.head = torch.nn.Linear(WIDTH, 20)

    def forward(self, words: Any) -> Any:
        hidden = self.embedding(words)
        for block in self.blocks:
            hidden = block(hidden)
        return torch.tanh(self.head(hidden))


class Trained(NamedTuple):
    model: Any
    found: Categories
    table: str
    explained: str


def train(depth: int, *, activations: bool = True, lbfgs: bool = False) -> Trained:
    model = Blocks()
    optimizer = torch.optim.LBFGS(model.parameters()) if lbfgs else torch.optim.AdamW(model.parameters())
    with phasescope.start() as session, instrument(model, optimizer, depth=depth, activations=activations):
        for _ in range(3):

            def closure() -> Any:
                optimizer.zero_grad()
                loss = model(torch.ones(BATCH, LENGTH, dtype=torch.long)).sum()
                loss.backward()
                return loss

            optimizer.step(closure)
        assert session.dropped == 0
        (row,) = session.summary().devices
        assert row.categories is not None
        return Trained(model, row.categories, session.summary().table(None), str(session.explain()))


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(depth=2)


def test_the_parts_add_up_to_the_whole(trained: Trained) -> None:
    found = trained.found
    together: Counter[str] = Counter()
    for module in found.modules:
        together.update(module.sizes)
    for name in ("parameters", "gradients", "optimizer_state", "activations"):
        assert together[name] == found.size_bytes(name), name


def test_each_part_has_its_own(trained: Trained) -> None:
    modules = {module.name: module.sizes for module in trained.found.modules}
    assert set(modules) == {"embedding", "blocks.0", "blocks.1", "head", ""}
    for name, of in trained.model.named_modules():
        if name in modules and name:
            own = sum(parameter.numel() * 4 for parameter in of.parameters())
            assert (modules[name]["parameters"], modules[name]["gradients"]) == (own, own)
            assert 2 * own < modules[name]["optimizer_state"] < 2 * own + 4 * 20
    assert modules[""] == {"activations": BATCH * LENGTH * 20 * 4}, "the result of tanh"
    assert "activations" not in modules["embedding"], "all that it saves is what the model was called with"
    sizes = [module.size_bytes for module in trained.found.modules]
    assert sizes == sorted(sizes, reverse=True)


def test_summary_and_explain_say_it(trained: Trained) -> None:
    block = trained.found.modules[0]
    assert block.name.startswith("blocks.")
    told = "by module on host, the largest first: blocks."
    assert told in trained.table
    assert told in trained.explained
    assert "keeps" in trained.table
    assert "; and 1 more" in trained.table


def test_it_is_what_torchs_own_tracker_finds(trained: Trained) -> None:
    """Between the beginnings of two blocks there is what the first has left: its result, which is as large as what it
    was called with."""
    mem_tracker = pytest.importorskip("torch.distributed._tools.mem_tracker")
    tracker, model = mem_tracker.MemTracker(), Blocks()
    optimizer = torch.optim.AdamW(model.parameters())
    tracker.track_external(model, optimizer)
    with tracker:
        model(torch.ones(BATCH, LENGTH, dtype=torch.long)).sum().backward()
    of = {stats.mod_fqn: stats for stats in tracker.memory_tracking.values()}
    ours = {module.name: module.sizes for module in trained.found.modules}

    def begins_with(name: str) -> int:
        snapshot = of[name].snapshots[mem_tracker._ModState.PRE_FW][0][torch.device("cpu")]
        total: int = snapshot["Total"]
        return total

    for name, following in (("blocks.0", "blocks.1"), ("blocks.1", "head")):
        theirs = of[f"Blocks.{name}"]
        assert ours[name]["parameters"] == theirs.parameter_mem
        left = begins_with(f"Blocks.{following}") - begins_with(f"Blocks.{name}")
        assert ours[name]["activations"] == left


def test_without_exact_activations_no_part_is_said_to_keep_any() -> None:
    found = train(depth=1, activations=False).found
    assert {module.name for module in found.modules} == {"embedding", "blocks", "head"}
    assert all("activations" not in module.sizes for module in found.modules)


def test_one_state_for_all_parameters_is_no_parts_own() -> None:
    found = train(depth=1, activations=False, lbfgs=True).found
    assert found.size_bytes("optimizer_state")
    assert all("optimizer_state" not in module.sizes for module in found.modules)


def test_without_depth_there_are_none() -> None:
    trained = train(depth=0)
    assert trained.found.modules == ()
    assert "by module" not in trained.table


def test_the_smallest_parts_are_those_without_others_inside() -> None:
    assert smallest(["", "a", "a.b", "a.b.c", "ab", "d"]) == {"a.b.c", "ab", "d"}
    assert smallest([""]) == set()


def test_many_parts_are_told_by_the_largest() -> None:
    model = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(60)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with phasescope.start() as session, instrument(model, optimizer, depth=1):
        model(torch.ones(2, 4)).sum().backward()
        optimizer.step()
        (row,) = session.summary().devices
    assert row.categories is not None
    assert len(row.categories.modules) == 32
