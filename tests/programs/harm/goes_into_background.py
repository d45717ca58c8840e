"""Fork twice, as daemons do; the grandchild does the work and writes what came of it.

ranks: 0
"""

import os
import sys
from pathlib import Path

reader, writer = os.pipe()
if os.fork() > 0:
    os.close(writer)
    print("told:", os.read(reader, 100).decode())  # the grandchild is done
    os.wait()
    sys.exit()
os.setsid()
if os.fork() > 0:
    os._exit(0)
Path("worked").write_text(str(sum(range(1000))))
os.write(writer, b"done")
os._exit(0)
