"""The source distribution: all that the repository holds, tests that run from it, and a page that stands by itself."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from support.waiting import CEILING_S

pytest.importorskip("setuptools", minversion="77")
markdown_it = pytest.importorskip("markdown_it")

ROOT = Path(__file__).parents[2]
HELD = [
    "src/phasescope",
    *(
        "integrations",
        "benchmarks",
        "dashboards",
        "docs",
        "examples",
        "requirements",
        "scripts",
        "tests",
        ".ci",
        ".github",
    ),
]
HELD_FILES = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CITATION.cff",
    "LICENSE",
    "MANIFEST.in",
    "Makefile",
    "action.yml",
    "mkdocs.yml",
]
HELD_FILES += ["pyproject.toml", "setup.py"]
_BUILD = "import sys, setuptools.build_meta as backend; backend.build_sdist(sys.argv[1])"
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the distribution, unpacked, and what building it said. Built from a copy, since building writes beside
    it."""
    folder = tmp_path_factory.mktemp("sdist")
    source = folder / "source"
    for name in HELD:
        shutil.copytree(ROOT / name, source / name, ignore=_LEFT_OUT)
    for name in HELD_FILES:
        shutil.copy(ROOT / name, source)
    made = subprocess.run(
        [sys.executable, "-c", _BUILD, folder],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
        timeout=CEILING_S,
    )
    assert made.returncode == 0, made.stderr
    (archive,) = folder.glob("phasescope-*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked, made.stdout + made.stderr


def test_it_holds_what_the_repository_does(built: tuple[Path, str]) -> None:
    unpacked, _ = built
    expected = set(HELD_FILES)
    for name in HELD:
        found = (path for path in (ROOT / name).rglob("*") if path.is_file() and path.suffix not in (".pyc", ".so"))
        expected |= {path.relative_to(ROOT).as_posix() for path in found}
    held = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    made = {name for name in held if name in ("PKG-INFO", "setup.cfg") or ".egg-info/" in name}
    assert held - made == expected


def test_building_it_warns_of_nothing_of_ours(built: tuple[Path, str]) -> None:
    _, said = built
    warned = [line for line in said.splitlines() if re.search("warn|deprecat|absent", line.partition(" -> ")[0], re.I)]
    harmless = re.compile(r"no previously-included files matching '\*\.(py\[cod\]|so)'|^copying |absent\.py")
    assert [line for line in warned if not harmless.search(line)] == []


def test_its_tests_run(built: tuple[Path, str]) -> None:
    unpacked, _ = built
    for arguments in (["--collect-only", "tests"], ["tests/project/test_docs_links.py", "tests/wire/test_event.py"]):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
            cwd=unpacked,
            capture_output=True,
            text=True,
            check=False,
            timeout=CEILING_S,
        )
        assert done.returncode == 0, done.stdout[-3000:]


def test_the_page_of_the_index_leads_nowhere_that_is_not_there(built: tuple[Path, str]) -> None:
    unpacked, _ = built
    page = email.message_from_string((unpacked / "PKG-INFO").read_text(encoding="utf-8"))
    assert page["Description-Content-Type"] == "text/markdown"
    text = str(page.get_payload())
    tokens = [inner for token in markdown_it.MarkdownIt().enable("table").parse(text) for inner in token.children or ()]
    targets = [
        token.attrs.get("href") or token.attrs.get("src") for token in tokens if token.type in ("link_open", "image")
    ]
    assert [target for target in targets if not re.match("https?://|#", str(target))] == []
    assert "phasescope explain" in text
    assert "- `docs/cli.md`: the commands" in text
    assert "in which phase (how often that is right (`docs/growth.md`))" in text
    assert "The files named here are in the source distribution." in text
