"""docs/api.md is what the docstrings make, and the docstrings of public names say what a caller has to know."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import phasescope

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
_UNITS = ("_ns", "_ms", "_s", "_bytes", "ms", "seconds", "_share")
_NAMES = ("_id", "pid", "rank", "world_size")  # of things: no figures
_NUMBER = re.compile(r"\b(int|float)\b")


def script() -> Any:
    name = "api_page_script"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "api_page.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@functools.cache
def sections() -> list[Any]:
    return list(script().sections())


def entries() -> Iterator[tuple[str, Any, Any]]:
    """Give every public name and member: its name, its entry, and the class that it is a member of, or None."""
    for section in sections():
        for entry in section.entries:
            yield entry.name, entry, None
            for member in entry.fields + entry.members:
                yield f"{entry.name}.{member.name}", member, entry


def test_the_page_is_what_the_docstrings_make() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert page == script().page(), "run `python scripts/api_page.py`"


def test_the_page_has_every_exported_name_once() -> None:
    named = [name for names in script().SECTIONS.values() for name in names]
    assert sorted(named) == sorted(script().exported())
    assert {*named, "__version__"} == set(phasescope.__all__)


def test_every_public_name_has_a_docstring() -> None:
    lacking = [
        name
        for name, entry, owner in entries()
        if not entry.doc and (owner is None or isinstance(entry.node, ast.FunctionDef))
    ]
    assert lacking == []


def test_a_field_without_a_unit_in_its_name_is_explained() -> None:
    """Figures carry their unit in their name, and a count is named in the docstring of its class."""
    lacking = []
    for name, entry, owner in entries():
        if owner is not None and not entry.doc and _is_number(entry) and not entry.name.endswith(_UNITS + _NAMES):
            lacking += [name] * (f"`{entry.name}`" not in owner.doc)
    assert lacking == []


def test_a_number_that_a_function_takes_has_its_unit_or_is_explained() -> None:
    lacking = []
    for name, entry, owner in entries():
        if not isinstance(entry.node, ast.FunctionDef):
            continue
        doc = entry.doc + ("" if owner is None else owner.doc)
        for argument in [*entry.node.args.args, *entry.node.args.kwonlyargs]:
            annotation = "" if argument.annotation is None else ast.unparse(argument.annotation)
            is_explained = re.search(rf"\b{argument.arg}\b", doc) or argument.arg.endswith(_UNITS + _NAMES)
            lacking += [f"{name}({argument.arg})"] * (bool(_NUMBER.search(annotation)) and not is_explained)
    assert lacking == []


def test_every_exception_that_a_function_raises_itself_is_named() -> None:
    lacking = []
    for name, entry, owner in entries():
        doc = entry.doc + ("" if owner is None else owner.doc)
        lacking += [f"{name}: {raised}" for raised in _raised(entry.node) if raised not in doc]
    assert lacking == []


def test_no_public_name_gives_out_what_is_not_public() -> None:
    """Whoever gets an object by a public name can also name its type."""
    public = {name.rpartition(".")[2] for name, _, owner in entries() if owner is None}
    hidden = []
    for name, entry, _ in entries():
        returned = getattr(entry.node, "returns", None) or getattr(entry.node, "annotation", None)
        names = set(re.findall(r"\b[A-Z]\w+", "" if returned is None else ast.unparse(returned)))
        hidden += [f"{name} -> {each}" for each in sorted(names & _classes_of_ours() - public)]
    assert hidden == []


def _is_number(entry: Any) -> bool:
    annotation = getattr(entry.node, "annotation", None) or getattr(entry.node, "returns", None)
    return annotation is not None and bool(re.fullmatch(r"(int|float)( \| None)?", ast.unparse(annotation)))


def _raised(node: ast.AST) -> set[str]:
    body = node if isinstance(node, ast.FunctionDef) else ast.Pass()
    raised = (each.exc for each in ast.walk(body) if isinstance(each, ast.Raise))
    return {each.func.id for each in raised if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)}


@functools.cache
def _classes_of_ours() -> set[str]:
    sources = ROOT.glob("src/phasescope/**/*.py")
    found = {name for path in sources for name in re.findall(r"^class (\w+)", path.read_text("utf-8"), re.MULTILINE)}
    return found - {"Path"}  # the public one is of pathlib
