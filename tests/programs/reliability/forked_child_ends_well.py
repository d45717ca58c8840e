"""Start a multiprocessing child that has a session of its own and ends well.

ranks: 0 0
tree:
  child's ×1
"""

import multiprocessing

import phasescope
from phasescope import phase


def work():
    with phasescope.start():
        with phase("child's"):
            pass


if __name__ == "__main__":
    phasescope.start()
    with phase("parent's"):
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
    print(child.exitcode)
