"""The documentation site: it builds without a warning, and what its pages tell a reader to type can be typed."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from phasescope.cli import COMMANDS, command_parser
from support.browser import Watched, needs_axe, running_browser, violations
from support.waiting import CEILING_S

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TOLD = [DOCS / "start.md", *sorted(DOCS.glob("guides/*.md"))]
browser = pytest.fixture(scope="module")(running_browser)
_COMMAND = re.compile(r"^    ((?:[A-Z_]+=\S+ )?(?:phasescope|torchrun|srun|docker exec) .*)$", re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocstrings_handlers.python", reason="the documentation's requirements are not installed")
    folder = tmp_path_factory.mktemp("site") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=CEILING_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_it_builds_without_a_warning(site: Path) -> None:
    built = {page.parent.name for page in site.rglob("index.html")}
    assert {page.stem for page in PAGES} - {"index"} <= built
    names = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    assert "\nphasescope.start py:function" in names, "mkdocstrings did not make the page of the public names"
    page = (site / "guides" / "growing" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="https?://(?:fonts|unpkg|cdn)', page), "it asks other servers for something"


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_pages_can_be_read(site: Path, browser: Any, scheme: str) -> None:
    watched = Watched(browser, bypass_csp=True, color_scheme=scheme)
    watched.page.goto((site / "start" / "index.html").as_uri())
    found = violations(watched.page)
    assert [each for each in found if not each.startswith("landmark-unique")] == []  # of the theme's copy buttons
    watched.page.set_viewport_size({"width": 390, "height": 844})
    watched.page.goto((site / "api" / "index.html").as_uri())
    assert watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    watched.close()


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    assert set(re.findall(r": (\S+\.md)$", menu, re.MULTILINE)) == {page.relative_to(DOCS).as_posix() for page in PAGES}


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of each call of phasescope that the page tells a reader to type."""
    lines = _COMMAND.findall(page.read_text(encoding="utf-8"))
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[line.index("phasescope") + 1 :] for line in words]


@pytest.mark.parametrize("page", TOLD, ids=lambda page: page.stem)
def test_the_commands_that_it_tells_to_type_are_understood(page: Path) -> None:
    found = commands(page)
    assert found or page.stem == "notebook"
    for name, *arguments in found:
        assert name in COMMANDS
        if "--help" in arguments:
            continue
        module = importlib.import_module(f"phasescope.cli.{name}")
        own, _ = module.split(arguments) if hasattr(module, "split") else (arguments, [])
        command_parser(name, module).parse_args(own)


@pytest.mark.parametrize("page", TOLD, ids=lambda page: page.stem)
def test_its_python_runs(page: Path, tmp_path: Path) -> None:
    blocks = _PYTHON.findall(page.read_text(encoding="utf-8"))
    folder = tmp_path / "here"  # beside the rings' folder, which would be a package `phasescope` of its own
    folder.mkdir()
    for number, block in enumerate(blocks):
        if "def test_" in block:
            (folder / f"test_block_{number}.py").write_text(block)
            command = ["-m", "pytest", "-q", "-p", "phasescope.integrations.pytest", "-p", "no:cacheprovider"]
        else:
            (folder / f"block_{number}.py").write_text(block)
            command = [f"block_{number}.py"]
        done = subprocess.run(
            [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False, timeout=CEILING_S
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
