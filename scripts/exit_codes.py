"""Write the table of exit codes in docs/cli.md, from the one that the command has.

python scripts/exit_codes.py
"""

from __future__ import annotations

from pathlib import Path

from phasescope.cli._exit_codes import exit_codes_page

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
BEGIN, END = "<!-- exit codes: scripts/exit_codes.py -->\n\n", "\n<!-- end -->"


def written(page: str) -> str:
    """Return the page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{exit_codes_page()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
