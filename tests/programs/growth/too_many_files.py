"""Open one file after another until there are no more descriptors: memory has nothing to do with it.

exit: 1
verdict: open_files
says: Too many open files|OSError
never: (?i)leak|save a checkpoint|iB per
"""

import resource
import sys
from pathlib import Path

resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
files = []
try:
    while True:
        files.append(Path(sys.argv[0]).open())  # noqa: SIM115 - that is the fault
finally:
    print("no more")
