"""End with a text as the exit code: Python prints it and exits with 1.

exit: 1
verdict: exception
says: ended with exit code 1: no data: nothing to train
"""

import sys

sys.exit("no data: nothing to train")
