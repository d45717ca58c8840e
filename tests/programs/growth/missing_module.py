"""Die of a module that is not there, right after the start: no leak.

exit: 1
verdict: exception
says: ModuleNotFoundError
never: (?i)leak|save a checkpoint|iB per
"""

import json  # noqa: F401 - some are there

ballast = [bytearray(4 * 2**20) for _ in range(20)]  # and what else was loaded before
import not_installed_anywhere  # noqa: E402, F401
