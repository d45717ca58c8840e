"""What a repository tells those who report, contribute and cite: there, short, and true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from phasescope import __version__

ROOT = Path(__file__).parents[2]
TEMPLATES = [*sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*.md")), ROOT / ".github" / "pull_request_template.md"]


@pytest.mark.parametrize("path", [ROOT / "SECURITY.md", ROOT / "CITATION.cff", *TEMPLATES], ids=lambda path: path.name)
def test_it_is_short(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert 5 < len(lines) <= 40


def test_an_issue_template_has_its_name_and_purpose() -> None:
    templates = TEMPLATES[:-1]
    assert len(templates) == 2
    for path in templates:
        assert re.match(r"---\nname: .+\nabout: .+\n---\n", path.read_text(encoding="utf-8")), path.name


def test_the_citation_is_of_this_package() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    said = dict(re.findall(r"^([\w-]+): (.+)$", text, re.MULTILINE))
    assert (said["cff-version"], said["type"], said["title"]) == ("1.2.0", "software", "phasescope")
    assert said["version"] == __version__
    assert f'license = "{said["license"]}"' in project
    (author,) = re.findall(r"^  - name: (.+)$", text.partition("keywords:")[0], re.MULTILINE)
    assert f'authors = [{{ name = "{author}" }}]' in project
    assert said["message"]
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(text)["authors"] == [{"name": author}]


def test_what_the_files_name_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in (ROOT / "SECURITY.md", *TEMPLATES):
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"`make ([\w-]+)`", text):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{path.name}: make {target}"
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            assert (ROOT / link).is_file(), f"{path.name}: {link}"
