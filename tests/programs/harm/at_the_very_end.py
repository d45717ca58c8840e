"""Print in exit handlers, in a destructor, and in a thread that outlives the main one."""

import atexit
import threading
import time


class Late:
    def __del__(self):
        print("collected")


def finish():
    time.sleep(0.2)
    print("the thread is done")


late = Late()
atexit.register(print, "first registered")
atexit.register(print, "second registered")
threading.Thread(target=finish).start()
print("main is done")
