"""The examples of the README, as a reader's type checker sees them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.waiting import CEILING_S

pytest.importorskip("mypy")

ROOT = Path(__file__).parents[2]
_EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
MADE_BEFORE = "from __future__ import annotations\nloader: list[int] = []\n"


def test_the_examples_that_need_nothing_else_are_well_typed(tmp_path: Path) -> None:
    examples = [text for text in _EXAMPLE.findall((ROOT / "README.md").read_text()) if "integrations" not in text]
    ours = [text for text in examples if "phasescope." in text]
    assert len(ours) == 2
    (tmp_path / "example.py").write_text(MADE_BEFORE + "import phasescope\n".join(["", *ours]))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml", tmp_path / "example.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=CEILING_S,
    )
    assert done.returncode == 0, done.stdout
