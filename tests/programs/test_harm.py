"""The programs in `harm/`: each a process of its own, alone and under `phasescope run`."""

from __future__ import annotations

from programs.trying import trials_of

test_program = trials_of("harm")
