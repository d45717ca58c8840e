"""Names that a phase can have, each made to break one of the texts in which phases are exported."""

from __future__ import annotations

NAMES = (
    'a"} 1\n# EOF\n',  # the exposition format
    "nul\0x",
    "\u202ertl\u2066\u200f",
    "x" * 10_240,
    "{{phase}} {{.Labels}} $__interval ${job}",  # Grafana
    "'); DROP TABLE fleet; --",  # SQL
    '\\"\\',
    "line\r\nand\u2028line",
    "\ud800 alone",
    "💥é",
    "</script><img src=x onerror=alert(1)>",
    "```\n## x",  # Markdown
    "::error::x",  # GitHub's runner
    "=cmd|' /C calc'!A0",  # a spreadsheet
    "%s%d{0}%(x)s",
    "a/b",
    "..",
)
