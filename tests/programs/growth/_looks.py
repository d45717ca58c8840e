"""Workers that are looked at as often as a program goes on: a busy machine makes that longer, and shows as much."""

import multiprocessing
import time

import phasescope
from phasescope.backends import host_details, host_private
from phasescope.capture import device_figures

device_figures.EXTRA_PERIOD_NS = 20_000_000  # workers are looked at once a second; a test has no minutes to wait
host_private._AT_MOST = host_details._AT_MOST = 2  # and a look may take 15 ms on a machine with other work to do,
host_details._WAITING_AT_MOST = 1  # and ten times as long until its turn comes

_measure = host_private.PrivateSets.measure
_looks = 0


def _counted(*arguments):
    global _looks
    found = _measure(*arguments)
    _looks += bool(found)
    return found


host_private.PrivateSets.measure = _counted


def wait_for_a_look():
    """Return after the next look at workers that are there, and at once where there is no session."""
    before = _looks
    while phasescope.current() is not None and _looks == before and multiprocessing.active_children():
        time.sleep(0.001)
