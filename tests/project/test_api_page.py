"""docs/api.md is what the docstrings make, and the docstrings of public names say what a caller has to know."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("griffe", reason="the documentation's requirements are not installed")

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


def entries() -> Iterator[tuple[str, Any, Any]]:
    """Give every public name and member: its name, what Griffe knows of it, and the class that it is a member of."""
    for section in script().sections():
        for entry in script().entries(section):
            yield entry.name, entry, None
            for member in script().fields(entry) + script().methods(entry):
                yield f"{entry.name}.{member.name}", member, entry


def doc(*entries: Any) -> str:
    return "".join(script().doc(entry) for entry in entries if entry is not None)


def test_the_page_is_what_the_docstrings_make() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert page == script().page(), "run `python scripts/api_page.py`"


def test_the_page_has_every_exported_name_once() -> None:
    named = [name for names in script().SECTIONS.values() for name in names]
    assert sorted([*named, "__version__"]) == sorted(phasescope.__all__)


def test_the_site_has_a_directive_for_every_name_of_the_page() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    directives = script().directives()
    assert re.findall(r"^### (\w+)$", page, re.MULTILINE) == re.findall(
        r"^::: [\w.]+\.(\w+)$", directives, re.MULTILINE
    )
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == re.findall(r"^## (.+)$", directives, re.MULTILINE)


def test_every_public_name_has_a_docstring() -> None:
    lacking = [name for name, entry, owner in entries() if not doc(entry) and (owner is None or entry.is_function)]
    assert lacking == []


def test_a_field_without_a_unit_in_its_name_is_explained() -> None:
    """Figures carry their unit in their name, and a count is named in the docstring of its class."""
    lacking = []
    for name, entry, owner in entries():
        if owner is not None and not doc(entry) and _is_number(entry) and not entry.name.endswith(_UNITS + _NAMES):
            lacking += [name] * (f"`{entry.name}`" not in doc(owner))
    assert lacking == []


def test_a_number_that_a_function_takes_has_its_unit_or_is_explained() -> None:
    lacking = []
    for name, entry, owner in entries():
        for argument in entry.parameters if entry.is_function else ():
            is_explained = re.search(rf"\b{argument.name}\b", doc(entry, owner)) or argument.name.endswith(
                _UNITS + _NAMES
            )
            is_number = _NUMBER.search(str(argument.annotation or ""))
            lacking += [f"{name}({argument.name})"] * (bool(is_number) and not is_explained)
    assert lacking == []


def test_every_exception_that_a_function_raises_itself_is_named() -> None:
    lacking = []
    for name, entry, owner in entries():
        lacking += [f"{name}: {raised}" for raised in _raised(entry) if raised not in doc(entry, owner)]
    assert lacking == []


def test_no_public_name_gives_out_what_is_not_public() -> None:
    """Whoever gets an object by a public name can also name its type."""
    public = {name.rpartition(".")[2] for name, _, owner in entries() if owner is None}
    hidden = []
    for name, entry, _ in entries():
        names = set(re.findall(r"\b[A-Z]\w+", _given(entry)))
        hidden += [f"{name} -> {each}" for each in sorted(names & _classes_of_ours() - public)]
    assert hidden == []


def _given(entry: Any) -> str:
    """Return the type of what a function returns, or of an attribute."""
    given = entry.returns if entry.is_function else entry.annotation if entry.is_attribute else None
    return str(given or "")


def _is_number(entry: Any) -> bool:
    return bool(re.fullmatch(r"(int|float)( \| None)?", _given(entry)))


def _raised(entry: Any) -> set[str]:
    body = ast.parse(textwrap.dedent(entry.source)) if entry.is_function else ast.Pass()
    raised = (each.exc for each in ast.walk(body) if isinstance(each, ast.Raise))
    return {each.func.id for each in raised if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)}


@functools.cache
def _classes_of_ours() -> set[str]:
    sources = ROOT.glob("src/phasescope/**/*.py")
    found = {name for path in sources for name in re.findall(r"^class (\w+)", path.read_text("utf-8"), re.MULTILINE)}
    return found - {"Path"}  # the public one is of pathlib
