"""End with an exit code of its own, after some output; no phase was left with it.

exit: 3
verdict: exception
says: ended with exit code 3
"""

import sys

print("done what could be done")
sys.exit(3)
