r"""Record the session of a command line that is no UTF-8.

arguments: caf\xe9
differs: events.jsonl
ranks: 0 0
tree:
  step ×3
"""

from pathlib import Path

import phasescope

phasescope.stop()  # where one runs already, that one is not recorded
with phasescope.start(record="events.jsonl"):
    for _ in range(3):
        with phasescope.phase("step"):
            pass
print(b"step" in Path("events.jsonl").read_bytes())
