"""Decorate functions of every kind by phases.

tree:
  step ×2
    fetch ×2
  later ×1
"""

import asyncio

import phasescope
from phasescope import phase


@phase("fetch")
def fetch(number):
    """Fetch it."""
    yield from range(number)


@phase("step")
def step(rows):
    return sum(rows), list(fetch(3))


@phase("later")
async def later():
    return await asyncio.sleep(0, "came")


session = phasescope.start()
print(step([1, 2]), step.__name__, fetch.__doc__, step([]), asyncio.run(later()))
