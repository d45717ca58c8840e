r"""Take an argument that is no UTF-8, and pass it on to the file system.

arguments: --name caf\xe9
"""

import os
import sys
from pathlib import Path

print(os.fsencode(sys.argv[2]))
Path(sys.argv[2]).write_text("named so")
print(sorted(os.fsencode(name) for name in os.listdir()))  # noqa: PTH208 - as bytes
