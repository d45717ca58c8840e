"""Every link between the documents leads somewhere: files exist, and so do the headings that an anchor names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")] + sorted(
    ROOT.glob("docs/**/*.md")
)
_FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2`* *$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)")
_DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_NAMED = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")


def anchors(text: str) -> set[str]:
    """Return what can be named behind a `#`, by the rules of GitHub: a repeated heading has a number."""
    text = _FENCE.sub("", text)
    found: set[str] = set(_NAMED.findall(text))
    for heading in _HEADING.findall(text):
        slug = slug_of(heading)
        name, count = slug, 0
        while name in found:
            count += 1
            name = f"{slug}-{count}"
        found.add(name)
    return found


def slug_of(heading: str) -> str:
    """Lower case; letters, digits, `-` and `_` are kept, a space is a `-`, of a link its text is left."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")


def links(text: str) -> list[str]:
    """Return the targets of all links that are no code and lead to no other site."""
    text = _FENCE.sub("", text)
    text = _CODE.sub("code", text)
    return [link for link in _LINK.findall(text) + _DEFINITION.findall(text) if not re.match(r"[a-z]+:", link)]


def broken(document: Path) -> list[str]:
    """Its links that lead nowhere."""
    found = []
    for link in links(document.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8"))
        ):
            found.append(link)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    assert broken(document) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    text = "# `a` of B\n[no](x.md), [no](#c), [yes](#a-of-b), [`code`](y.md) `[x](z.md)`\n\n```\n# c\n```\n"
    (tmp_path / "one.md").write_text(text)
    assert broken(tmp_path / "one.md") == ["x.md", "#c", "y.md"]


def test_a_heading_that_comes_twice_has_a_number() -> None:
    assert anchors("# As JSON\n## As JSON\n### What, why?\n") == {"as-json", "as-json-1", "what-why"}


def test_the_table_of_commands_has_each_command_once() -> None:
    from phasescope.cli import COMMANDS

    listed = re.findall(r"^\| \[`(\w+)`\]\(", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)
