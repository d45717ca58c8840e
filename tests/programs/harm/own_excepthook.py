"""Tell of exceptions by a hook of its own.

exit: 1
verdict: exception
"""

import sys


def hook(kind, error, trace):
    names = []
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    print("mine:", kind.__name__, error, names)


sys.excepthook = hook
raise ValueError("of its own")
