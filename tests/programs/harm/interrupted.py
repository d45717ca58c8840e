"""Be interrupted by the keyboard.

exit: -2
verdict: exception
"""

import os
import signal

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
print("begun", flush=True)
os.kill(os.getpid(), signal.SIGINT)
print("not reached")
