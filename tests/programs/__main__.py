"""Try programs by hand: `python -m programs [NAME ...]` in `tests` prints what is not as expected, and the table.

Those of `ecosystem/` train with packages that the tests do not install: they are tried where they are named.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from programs.table import lines
from programs.trial import FOLDER, KINDS, expected_of, programs, try_out


def main(names: list[str]) -> int:
    rows, wrong = [], 0
    for program in (one for kind in (*KINDS, *(["ecosystem"] if names else [])) for one in programs(kind)):
        known_as = program.relative_to(FOLDER).as_posix()
        if names and not any(name in known_as for name in names):
            continue
        missing = expected_of(program).missing
        if missing:
            print(f"{program.name}: not tried, it needs {', '.join(missing)}", flush=True)
            wrong += bool(names)
            continue
        with tempfile.TemporaryDirectory() as folder:
            outcome = try_out(program, Path(folder))
        rows.append(outcome.row)
        wrong += bool(outcome.faults)
        for fault in outcome.faults:
            print(f"{program.name}: {fault}\n", flush=True)
    print("\n".join(lines(rows)))
    return 0 if rows and not wrong else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
