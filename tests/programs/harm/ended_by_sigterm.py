"""Be ended by SIGTERM, without a handler.

exit: -15
verdict: killed
"""

import os
import signal

os.kill(os.getpid(), signal.SIGTERM)
