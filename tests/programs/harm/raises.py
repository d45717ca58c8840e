"""End by an exception that was raised from another.

exit: 1
verdict: exception
"""


def load(path):
    raise FileNotFoundError(path)


try:
    load("data.bin")
except FileNotFoundError as error:
    raise RuntimeError("no data") from error
