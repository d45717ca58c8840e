"""Catch an exit code that had left a phase, and come to the end all the same.

exit: 0
verdict: none
never: exit code
tree:
  check ×1, 1 error
"""

import sys

from phasescope import phase

try:
    with phase("check"):
        sys.exit(3)
except SystemExit as error:
    print("not ended by", error.code)
