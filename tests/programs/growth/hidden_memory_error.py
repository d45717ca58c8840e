"""Run out of address space, and lose that behind the error of a cleanup.

exit: 1
verdict: limit
says: RLIMIT_AS|ulimit -v
tree:
  load ×1, 1 error
"""

import resource

from phasescope import phase

resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))


def clean_up():
    raise RuntimeError("nothing to clean up")


with phase("load"):
    try:
        rows = bytearray(2 * 2**30)
    finally:
        clean_up()
