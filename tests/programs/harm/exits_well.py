"""Call sys.exit() without a code, from within a function.

exit: 0
verdict: none
"""

import sys


def main():
    print("well")
    sys.exit()


main()
