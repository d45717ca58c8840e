"""What has no test marked `neutral` asks nothing of the system, so that it cannot tell on which one it runs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src" / "phasescope"
WIRE = ("codec", "envelope", "envelope_fields", "event", "frozen", "record_id", "record_reader", "ring")
PURE = (*sorted((SOURCES / "analysis").rglob("*.py")), *(SOURCES / "wire" / f"{name}.py" for name in WIRE))
OF_THE_SYSTEM = frozenset(
    (
        *("_os_compat", "ctypes", "fcntl", "io", "platform", "psutil", "resource", "select", "shutil", "signal"),
        *("socket", "subprocess", "tempfile", "Path"),
    )
)


@pytest.mark.parametrize("source", PURE, ids=lambda path: str(path.relative_to(SOURCES)))
def test_it_asks_nothing_of_the_system(source: Path) -> None:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    assert asked(tree) == set()


def test_what_is_asked_of_the_system_is_seen() -> None:
    text = (
        "import os, fcntl\nfrom pathlib import Path\nfrom phasescope import _os_compat\nopen(os.environ['x'])\nos.pread"
    )
    assert asked(ast.parse(text)) == {"fcntl", "Path", "_os_compat", "open", "os.pread"}


def asked(tree: ast.AST) -> set[str]:
    """Return the names that stand for the system's calls; the environment is the same on each."""
    found: set[str] = set()
    for node in _run(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name.split(".")[0] for alias in node.names}
            module = str(getattr(node, "module", ""))
            found |= {f"os.{name}" for name in names} if module == "os" else (names | {module}) & OF_THE_SYSTEM
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            found.add("open")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            found |= {f"os.{node.attr}"} - {"os.environ"}
    return found


def _run(tree: ast.AST) -> list[ast.AST]:
    """Return the nodes that are run: not what only a type checker reads."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        return []
    return [tree, *(node for child in ast.iter_child_nodes(tree) for node in _run(child))]
