"""Record by a relative name, and go where another run's recording has the same name.

differs: events*.jsonl
ranks: 0 0
tree:
  step ×20
"""

import os
from pathlib import Path

import phasescope

Path("other").mkdir()
Path("other/events.jsonl").write_text("of another run\n")
phasescope.stop()  # where one runs already, that one is not recorded
with phasescope.start(record="events.jsonl"):
    os.chdir("other")
    for _ in range(20):
        with phasescope.phase("step"):
            pass
print(sorted(path.name for path in Path().iterdir()), Path("events.jsonl").read_text())
print(Path("../events.jsonl").stat().st_size > 0)
