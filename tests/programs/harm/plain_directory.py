"""Run where the directory for sessions was made by a plain mkdir.

directory: 0755
tree:
  step ×3
"""

import os
from pathlib import Path

from phasescope import phase

for _ in range(3):
    with phase("step"):
        pass
print(oct(Path(os.environ["PHASESCOPE_DIR"]).stat().st_mode & 0o777))
