"""Run out of address space outside of any phase, and lose that behind the error of a cleanup.

exit: 1
verdict: limit
says: RLIMIT_AS|ulimit -v
"""

import resource

resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))


def close():
    raise RuntimeError("nothing to close")


try:
    rows = bytearray(2 * 2**30)
finally:
    close()
