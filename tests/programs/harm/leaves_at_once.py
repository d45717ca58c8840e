"""Leave by os._exit, without any cleanup.

exit: 7
verdict: exception
"""

import os

print("left", flush=True)
os._exit(7)
