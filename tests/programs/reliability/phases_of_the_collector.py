"""Mark each garbage collection by a phase, in gc.callbacks.

tree:
  ...
"""

import gc

import phasescope

phasescope.start()
marks = []


def mark(moment, _about):
    if moment == "start":
        marks.append(phasescope.phase("collect"))
        marks[-1].__enter__()
    else:
        marks.pop().__exit__(None, None, None)


gc.callbacks.append(mark)
for _ in range(20_000):
    cycle = []
    cycle.append(cycle)
gc.callbacks.remove(mark)
print(len(marks))
