"""Crash as native code does.

exit: -6
verdict: killed
stderr: it says where each thread was, ours too
"""

import os

print("about to", flush=True)
os.abort()
