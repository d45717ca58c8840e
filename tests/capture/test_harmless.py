"""A training comes out the same with the profiler as without: its weights, its output and how its process ends."""

from __future__ import annotations

import importlib.util
import signal
import sys

import pytest

import phasescope
from support.fakes.processes import in_new_python, new_python

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")

# --- the weights -----------------------------------------------------------------------------------------------------

TRAININGS = """
import contextlib, hashlib, random, sys, warnings
import torch
from torch.utils.data import DataLoader, Dataset
import phasescope

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and newer: a DataLoader forks beside threads


class Rows(Dataset):
    def __init__(self):
        self.rows = torch.randn(400, 32)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        with phasescope.phase("row"):
            noise = torch.randn(32) + random.random()
            return self.rows[index] + noise, index % 2


@phasescope.phase("weights")
def fingerprint(model, optimizer):
    text = hashlib.sha256()
    for part in (model.state_dict(), *optimizer.state_dict()["state"].values()):
        for name, value in part.items():
            text.update(value.numpy().tobytes() if hasattr(value, "numpy") else repr(value).encode())
    text.update(torch.get_rng_state().numpy().tobytes() + repr(random.getstate()).encode())
    return text.hexdigest()


def training(session):
    random.seed(1)
    torch.manual_seed(1)
    torch.set_num_threads(2)
    model = torch.nn.Sequential(
        *(torch.nn.Linear(32, 64), torch.nn.BatchNorm1d(64), torch.nn.ReLU(), torch.nn.Dropout(0.2)),
        torch.nn.Linear(64, 2),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    loader = DataLoader(Rows(), batch_size=8, shuffle=True, num_workers=2, multiprocessing_context="fork")
    steps = 0
    with session, phasescope.phase("epoch", n=0):
        for inputs, targets in phasescope.track(loader):
            with phasescope.phase("step", inputs=inputs, optimizer=optimizer):
                with phasescope.phase("forward"):
                    loss = torch.nn.functional.cross_entropy(model(inputs), targets)
                with phasescope.phase("backward"):
                    optimizer.zero_grad()
                    loss.backward()
                optimizer.step()
            steps += 1
    assert steps == 50
    return fingerprint(model, optimizer)


session = None
found = [training(contextlib.nullcontext())]
session = phasescope.start(interval_ms=1)
found.append(training(session))
found.append(training(contextlib.nullcontext()))
exits = [e["metadata"]["phase_scope"]["path"] for e in session.events() if e["event_type"] == "phase_exit"]
assert exits.count(["epoch", "step", "backward"]) == 50, "it was watched"
assert session.dropped == session.irregular == session.degraded == 0
assert sum(e["event_type"] == "sample" for e in session.events()) > 10
print(len(found), len(set(found)))
"""


@needs_torch
@pytest.mark.skipif(sys.platform == "win32", reason="it forks the loader's workers")
def test_the_weights_after_50_steps_are_bit_for_bit_the_same() -> None:
    """With phases, track, the decorator, a sampler every millisecond and a DataLoader with two workers."""
    assert in_new_python(TRAININGS) == "3 1"


# --- what is printed -------------------------------------------------------------------------------------------------

QUIET = """
import torch
import phasescope
from phasescope import phase

phasescope.start()
torch.manual_seed(0)
model = torch.nn.Linear(8, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


@phase("optimizer")
def step():
    optimizer.step()


with phase("epoch"):
    for batch in phasescope.track([torch.ones(4, 8)] * 5):
        with phase("forward", batch=batch):
            loss = model(batch).sum()
        with phase("backward"):
            optimizer.zero_grad()
            loss.backward()
        step()
        try:
            with phase("check"):
                raise ValueError("the training's own, caught")
        except ValueError:
            pass
print("done")
"""


# The same without torch, which takes seconds to import.
LIGHT = """
import phasescope
from phasescope import phase

phasescope.start()
with phase("epoch"):
    for batch in phasescope.track(range(5)):
        with phase("step", batch=batch):
            pass
print("done")
"""


@needs_torch
@pytest.mark.parametrize("options", [(), ("-I", "-W", "error")], ids=" ".join)
def test_a_normal_training_prints_nothing_but_its_own(options: tuple[str, ...]) -> None:
    done = new_python(QUIET, *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    with phasescope.attach() as reader:
        assert reader.state == "stopped"
        counts = {row.path[-1]: row.count for row in reader.summary().rows}
    assert counts == {"epoch": 1, "data": 5, "forward": 5, "backward": 5, "optimizer": 5, "check": 5}


@pytest.mark.parametrize(
    "options", [("-W", "error"), ("-O",), ("-OO",), ("-I",), ("-X", "dev"), ("-bb",)], ids=" ".join
)
def test_a_session_runs_under_any_options_of_python_and_prints_nothing(options: tuple[str, ...]) -> None:
    done = new_python(LIGHT, *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    with phasescope.attach() as reader:
        assert {row.path[-1]: row.count for row in reader.summary().rows} == {"epoch": 1, "data": 5, "step": 5}


def test_where_no_ring_file_can_be_had_one_warning_is_all_that_is_printed() -> None:
    done = new_python("import phasescope\nfor _ in range(2): phasescope.start(directory='/dev/null')")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.count("PhasescopeWarning") == 1


# --- how it ends -----------------------------------------------------------------------------------------------------

ENDS: dict[str, str] = {
    "well": "pass",
    "exit": "sys.exit()",
    "exit with a status": "sys.exit(7)",
    "exit with a text": "sys.exit('over')",
    "exit at once": "sys.stdout.flush(); os._exit(9)",
    "error": "raise ValueError('the training is over')",
    "error of the base class": "raise BaseException('over')",
    "assertion": "assert not 'the training, its own check'",
    "interrupt": "raise KeyboardInterrupt",
    "signal of an interrupt": "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)",
    "signal that ends": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
    "signal handler that exits": "signal.signal(signal.SIGTERM, exits); os.kill(os.getpid(), signal.SIGTERM)",
    "signal handler that raises": "signal.signal(signal.SIGALRM, raises); signal.setitimer(0, 0.01); busy()",
    "end of the stack": "deep()",
    "error in a thread": "run_in_thread(lambda: 1 / 0)",
    "error in a generator": "[_ for _ in broken_generator()]",
}

END = """
import os, signal, sys, threading, time
import phasescope
from phasescope import phase

def exits(number, frame):
    sys.exit(11)

def raises(*_):
    raise TimeoutError("of the handler")

def deep():
    with phase("deep"):
        deep()

def busy():
    over = time.monotonic() + 20
    while time.monotonic() < over:
        with phase("busy"):
            pass

def run_in_thread(target):
    def inside():
        with phase("in the thread"):
            target()
    thread = threading.Thread(target=inside, name="worker")
    thread.start()
    thread.join()

@phase("generator")
def broken_generator():
    yield 1
    raise LookupError("in a generator")

if WATCHED:
    session = phasescope.start(interval_ms=1)
    while session.written < 20:  # in full swing
        time.sleep(0.001)
print("begins", flush=True)
with phase("epoch"):
    with phase("step"):
        END
print("goes on")
"""


def ended(end: str, watched: bool) -> tuple[int, str, list[str]]:
    """How a process ends that runs this: its status, output, and what it says of an error without the places."""
    done = new_python(END.replace("END", end).replace("WATCHED", str(watched)))
    said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(" ")]
    return done.returncode, done.stdout, said


@pytest.mark.skipif(sys.platform == "win32", reason="signals are other ones there")
@pytest.mark.parametrize("name", ENDS)
def test_a_process_ends_as_it_would_without_the_profiler(name: str) -> None:
    plain, watched = ended(ENDS[name], watched=False), ended(ENDS[name], watched=True)
    assert watched == plain
    assert plain[1].startswith("begins\n"), plain


@pytest.mark.skipif(sys.platform == "win32", reason="signals are other ones there")
@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("exit with a status", 7, "SystemExit"),
        ("exit with a text", 1, "SystemExit"),
        ("signal of an interrupt", -signal.SIGINT, "KeyboardInterrupt"),
        ("signal handler that exits", 11, "SystemExit"),
    ],
)
def test_exit_and_interrupt_come_through_phases_with_their_status_and_are_named(
    name: str, status: int, error: str
) -> None:
    assert ended(ENDS[name], watched=True)[0] == status
    with phasescope.attach() as reader:
        exits = [e["metadata"]["phase_scope"] for e in reader.events() if e["event_type"] == "phase_exit"]
        assert reader.state == "stopped"
    assert [(scope["name"], scope["status"], scope["error_type"]) for scope in exits] == [
        ("step", "error", error),
        ("epoch", "error", error),
    ]
