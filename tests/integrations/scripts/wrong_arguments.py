"""What the callbacks say to wrong arguments; the argument is the integration."""

from __future__ import annotations

import importlib
import json
import sys
import warnings

WRONG: dict[str, list[dict[str, object]]] = {
    "lightning": [{"log_every_n_batches": 0}, {"log_every_n_batches": "1"}, {"log_every_n_batches": True}],
    "transformers": [{"log_figures": 1}],
}

warnings.simplefilter("ignore")
callback = importlib.import_module(f"phasescope.integrations.{sys.argv[1]}").PhaseCallback
told = {}
for arguments in WRONG[sys.argv[1]]:
    try:
        callback(**arguments)
    except (TypeError, ValueError) as error:
        told[str(arguments)] = f"{type(error).__name__}: {error}"
print(json.dumps(told))
