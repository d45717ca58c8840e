"""`python -m phasescope`: the command, where its script is not on the path."""

from __future__ import annotations

import sys

from phasescope.cli import main

sys.exit(main())
