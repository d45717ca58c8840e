"""Go to another directory in each step, and write there by relative names.

tree:
  step ×3
"""

import os
from pathlib import Path

from phasescope import phase

for number in range(3):
    with phase("step"):
        folder = Path(f"step-{number}")
        folder.mkdir()
        os.chdir(folder)
        Path("state").write_text(str(number))
print(Path.cwd().name)
