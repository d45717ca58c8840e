"""CONTRIBUTING.md names files that exist, and every room."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "phasescope"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def named() -> list[str]:
    """Return every path in it that is code: a file, or a folder with its slash."""
    spans = re.findall(r"`([\w./*<>-]+(?:\.py|\.md|\.toml|\.txt|/))`", TEXT)
    return [span for span in spans if "<" not in span and "*" not in span]


def exists(path: str) -> bool:
    folders = [ROOT, PACKAGE, *(folder for folder in PACKAGE.rglob("*") if folder.is_dir())]
    return any((folder / path).exists() for folder in folders)


def test_every_file_that_it_names_exists() -> None:
    assert len(named()) > 40
    assert [path for path in named() if not exists(path)] == []


def test_it_names_every_room() -> None:
    rooms = [path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert [room for room in rooms if f"`src/phasescope/{room}/`" not in TEXT] == []


def test_the_tests_mirror_the_rooms() -> None:
    rooms = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("test_*.py"))}
    ours = {path.name.strip("_") for path in PACKAGE.iterdir() if path.is_dir()} | {"integrations"}
    assert rooms - ours == {"end_to_end", "programs", "project"}


def test_every_room_says_what_it_may_import() -> None:
    rooms = [*PACKAGE.glob("*/**/__init__.py"), ROOT / "integrations" / "__init__.py"]
    assert len(rooms) > 20
    texts = {path: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in rooms}
    assert [str(path) for path, text in texts.items() if not re.search(r"\b[Mm]ay\s+import\b", text)] == []
