"""When the interpreter ends with things of ours still alive, it says nothing of them, however late they go.

Python empties the modules that something still holds (as IPython does with all of them), and then lets go of what is
left: whatever runs then finds None where its module's names were.
"""

from __future__ import annotations

import importlib.util

import pytest

from support.fakes.processes import new_python

LATE = """
import builtins, sys
import phasescope
from phasescope import phase, track


kept = []
{where}.kept = kept
session = phasescope.start()


@phase("generator")
def numbers():
    yield 1
    yield 2


def inside():
    with phase("inside"):
        yield 1


def begun(generator):
    next(generator)
    return generator


reader = phasescope.attach()
for thing in (
    *(session, reader, session.subscribe(lambda record: None)),
    *(begun(numbers()), begun(inside()), begun(iter(track([1, 2])))),
    *(begun(reader.follow(from_start=True)), begun(reader.unread()), begun(reader.iter_events())),
):
    kept.append(thing)
open_phase = phase("open")
open_phase.__enter__()
kept.append(open_phase)
{more}
str(session.summary())
del session, reader, thing, open_phase
sys.every_module = list(sys.modules.values())
"""

WITH_TORCH = """
import torch
from phasescope.integrations.torch import instrument
model = torch.nn.Linear(2, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
marked = instrument(model, optimizer, [1, 2, 3])
kept.append(begun(iter(marked.loader)))
kept.append(model(torch.ones(1, 2)).sum())
kept.append((model, optimizer, marked))
"""


@pytest.mark.parametrize("where", ["sys", "builtins"])
def test_nothing_is_said_of_what_goes_after_the_modules_are_emptied(where: str) -> None:
    done = new_python(LATE.format(where=where, more=""))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")
def test_nothing_is_said_of_a_marked_model_that_goes_as_late() -> None:
    done = new_python(LATE.format(where="builtins", more=WITH_TORCH))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
