"""One function of a benchmark in a fresh interpreter: `... -m benchmarks.worker MODULE FUNCTION ANSWER ARGUMENTS`."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    module, function, answer, arguments = sys.argv[1:]
    result = getattr(importlib.import_module(module), function)(*json.loads(arguments))
    Path(answer).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
