"""Write docs/api.md: every public name with its signature and docstring, read from the sources without running them.

python scripts/api_page.py
"""

from __future__ import annotations

import ast
import functools
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "phasescope"
PAGE = ROOT / "docs" / "api.md"

SECTIONS = {
    "Recording": ("phase", "track", "start", "stop", "current", "Session", "Subscription"),
    "Reading": ("attach", "Reader", "Problem", "SessionView"),
    "Summary": ("Summary", "Row", "DeviceRow", "Breakdown", "Part", "Categories", "Category", "ModulePart"),
    "Timeline": ("Timeline", "DeviceLine", "Point", "Range", "Peak", "Mark", "Band", "Strip"),
    "How it ended, and why": ("Ending", "OpenPhase", "Explanation", "Cause"),
    "Events and envelopes": (
        *("validate_event", "project_telemetry_mapping", "ProjectedTelemetryRecord", "projected_record_to_dict"),
        *("unique_projected_resources", "unique_projected_correlations", "TELEMETRY_PROJECTION_SCHEMA_VERSION"),
    ),
    "Errors and warnings": (
        *("SessionNotFoundError", "BackendUnavailableError", "RingError", "InvalidEventError", "PhasescopeWarning"),
    ),
}
MODULES = (
    *("phasescope.testing", "phasescope.backends.protocol"),
    *(f"phasescope.integrations.{name}" for name in ("torch", "lightning", "transformers", "keras", "jax")),
    *(f"phasescope.integrations.{name}" for name in ("pytest", "notebook")),
)

CONSTRUCTED = ("phase", "track", "SessionView", "FakeBackend", "FakeClock", "PhaseCallback")
"""The classes that a user calls. Of all others this package makes the objects."""

INTERNAL = {
    "Session": ("degraded", "identity", "irregular", "options"),
    "Reader": ("fold",),
    "Timeline": ("marked", "take"),
    "SessionView": ("boundaries", "current", "open_spans", "sequence"),
    "Explanation": ("evidence",),
    "Cause": ("growth", "rise"),
    "FakeBackend": (
        *("why_not", "ready", "devices", "current_device", "allocator", "device", "identity", "peak", "reset_peak"),
        *("watch_failures", "failure"),
        *("time_mark", "time_between"),
    ),
    "PhaseCallback": ("begin", "end"),
}
"""Members that public classes have for this package alone: the page does not promise them."""

_HOOK = re.compile(r"on_\w+|setup|teardown|set_\w+")
_WIDTH = 110
_PREAMBLE = """\
# The public names

<!-- Made by scripts/api_page.py from the docstrings: change those. -->

This page lists everything that phasescope promises: the names of `phasescope`, `phasescope.testing`,
`phasescope.backends.protocol` and `phasescope.integrations.*`. All other modules, and members that are not listed here,
may change at any time. `import phasescope` loads nothing else; each name is loaded at its first use.

Times end in `_ns` (a duration, or the wall clock in ns since the epoch), sizes in `_bytes`. None means: not known.
"""


@dataclass
class Entry:
    """A public name: a function, class or constant, or a member of a class. `fields` are those of a class."""

    name: str
    signature: str
    doc: str
    node: ast.AST
    fields: list[Entry] = field(default_factory=list)
    members: list[Entry] = field(default_factory=list)


@dataclass
class Section:
    """A heading of the page with what stands below it."""

    heading: str
    doc: str
    entries: list[Entry]


def sections() -> Iterator[Section]:
    """Read the whole public surface."""
    homes = _literal(_tree("phasescope"), "_HOMES")
    for heading, names in SECTIONS.items():
        yield Section(heading, "", [_entry(_tree(f"phasescope.{homes[name]}"), name) for name in names])
    for module in MODULES:
        tree = _tree(module)
        yield Section(f"`{module}`", ast.get_docstring(tree) or "", [_entry(tree, name) for name in _public(tree)])


def exported() -> list[str]:
    """Return the names of `phasescope` but for its version."""
    return [name for name in _literal(_tree("phasescope"), "__all__") if name != "__version__"]


def page() -> str:
    """Render the page."""
    parts = [_PREAMBLE]
    for section in sections():
        parts += [f"## {section.heading}\n", *_markdown(section.doc, ())]
        for entry in section.entries:
            parts += _rendered(entry)
    return "\n".join(parts)


# --- reading the sources ---------------------------------------------------------------------------------------------


@functools.cache
def _tree(module: str) -> ast.Module:
    parts = module.split(".")[1:]
    path = (ROOT if parts[:1] == ["integrations"] else PACKAGE).joinpath(*parts)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _literal(tree: ast.Module, name: str) -> Any:
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return ast.literal_eval(statement.value)
    return None


def _public(tree: ast.Module) -> list[str]:
    """Return the names that a module gives out, as they stand in it; a plugin without `__all__` is not for
    importing."""
    named = _literal(tree, "__all__")
    defined = [name for name, _, _ in _statements(tree.body) if not name.startswith("_")]
    if named is None and any(isinstance(statement, ast.FunctionDef) for statement in tree.body):
        return []
    return [name for name in defined if named is None or name in named]


def _statements(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.stmt, str]]:
    """Iterate over each name that is defined here, with its statement and docstring: a variable's is the text right
    after it."""
    for statement, following in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            yield statement.name, statement, ast.get_docstring(statement) or ""
        elif isinstance(statement, (ast.AnnAssign, ast.Assign)):
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            if isinstance(target, ast.Name):
                yield target.id, statement, _text(following)


def _text(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return str(statement.value.value)
    return ""


def _entry(tree: ast.Module, name: str) -> Entry:
    for defined, statement, doc in _statements(tree.body):
        if defined == name:
            if isinstance(statement, ast.ClassDef):
                return _class(statement, doc)
            return Entry(name, _signature(statement), doc, statement)
    raise LookupError(f"{name} is not defined where phasescope says it is")


def _class(node: ast.ClassDef, doc: str) -> Entry:
    entry = Entry(node.name, _class_signature(node), doc, node)
    for name, statement, text in _statements(node.body):
        if name.startswith("_") or name in INTERNAL.get(node.name, ()) or _is_hook(node, name):
            continue
        member = Entry(name, _signature(statement), text, statement)
        is_field = isinstance(statement, (ast.AnnAssign, ast.Assign)) or _is_property(statement)
        (entry.fields if is_field else entry.members).append(member)
    return entry


def _is_hook(node: ast.ClassDef, name: str) -> bool:
    """Return whether the framework calls it, and no user: of a callback."""
    return node.name == "PhaseCallback" and bool(_HOOK.fullmatch(name))


def _is_property(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.FunctionDef) and any(
        ast.unparse(decorator) == "property" for decorator in statement.decorator_list
    )


def _class_signature(node: ast.ClassDef) -> str:
    init = next((s for s in node.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"), None)
    if node.name in CONSTRUCTED and init is not None:
        return f"class {node.name}{_parameters(init)}"
    bases = [ast.unparse(base) for base in node.bases]
    shown = [base for base in bases if base not in ("NamedTuple", "ABC", "_Fields")]
    return f"class {node.name}" + (f"({', '.join(shown)})" if shown else "")


def _signature(statement: ast.stmt) -> str:
    if isinstance(statement, ast.FunctionDef):
        returns = "" if statement.returns is None else ast.unparse(statement.returns)
        if _is_property(statement):
            return f"{statement.name}: {returns}"
        return f"{statement.name}{_parameters(statement)} -> {returns}"
    if isinstance(statement, ast.AnnAssign) and not isinstance(statement.value, ast.Constant):
        statement.value = None  # made for each object
    if isinstance(statement, ast.Assign) and isinstance(statement.value, (ast.Name, ast.Attribute)):
        return ast.unparse(statement.targets[0])
    return ast.unparse(statement)


def _parameters(function: ast.FunctionDef) -> str:
    """Return the parameters as they are written in the source, without `self`."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults]
    shown = [_parameter(*pair) for pair in zip(positional, defaults, strict=True)]
    if arguments.posonlyargs:
        shown.insert(len(arguments.posonlyargs), "/")
    if positional and positional[0].arg == "self":
        shown = shown[1:]
    if arguments.vararg is not None or arguments.kwonlyargs:
        shown.append("*" if arguments.vararg is None else f"*{_parameter(arguments.vararg)}")
    shown += [_parameter(*pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg is not None:
        shown.append(f"**{_parameter(arguments.kwarg)}")
    return f"({', '.join(shown).removeprefix('/, ')})"


def _parameter(argument: ast.arg, default: ast.expr | None = None) -> str:
    annotation = "" if argument.annotation is None else f": {ast.unparse(argument.annotation)}"
    return f"{argument.arg}{annotation}" + ("" if default is None else f" = {ast.unparse(default)}")


# --- writing Markdown ------------------------------------------------------------------------------------------------


def _rendered(entry: Entry) -> Iterator[str]:
    yield f"### {entry.name}\n"
    fields = [each.signature for each in entry.fields if not each.doc]
    lines = [_wrapped(entry.signature) + (":" if fields else ""), *(f"    {each}" for each in fields)]
    yield "\n".join(["```python", *lines, "```\n"])
    yield from _markdown(entry.doc, _names(entry.node))
    described = [each for each in entry.fields if each.doc]
    if described:
        yield "\n".join(f"- `{each.signature}`: {_joined(each.doc)}" for each in described) + "\n"
    for member in entry.members:
        yield f"**`{member.signature}`**\n"
        yield from _markdown(member.doc, _names(member.node))


def _wrapped(signature: str) -> str:
    """Return a parameter a line, where all are too long for one."""
    if len(signature) <= _WIDTH:
        return signature
    head, _, rest = signature.partition("(")
    parameters, _, returns = rest.rpartition(")")
    parts = re.split(r", (?![^\[(]*[\])])", parameters)
    return "\n".join([f"{head}(", *(f"    {part}," for part in parts), f"){returns}"])


def _names(node: ast.AST) -> tuple[str, ...]:
    """Return the parameters that a docstring may explain one by one."""
    functions = [node] if isinstance(node, ast.FunctionDef) else getattr(node, "body", [])
    found: list[str] = []
    for function in functions:
        if isinstance(function, ast.FunctionDef) and (function is node or function.name == "__init__"):
            every = function.args
            found += [argument.arg for argument in (*every.posonlyargs, *every.args, *every.kwonlyargs)]
    return tuple(found)


def _markdown(doc: str, parameters: Sequence[str]) -> Iterator[str]:
    """Iterate over a docstring's paragraphs: code where they are indented, a list where they explain parameters."""
    for paragraph in re.split(r"\n\s*\n(?=\S)", doc):
        if not paragraph:
            continue
        first = re.match(r"([\w, ]+): ", paragraph)
        if first and set(first[1].split(", ")) <= set(parameters):
            yield _list(paragraph) + "\n"
            continue
        before, _, code = paragraph.partition("\n\n    ")
        yield before + "\n"
        if code:
            yield f"```text\n{textwrap.dedent('    ' + code)}\n```\n"


def _list(paragraph: str) -> str:
    entries = re.sub(r"\n\s+", " ", paragraph).splitlines()
    return "\n".join(re.sub(r"^([\w, ]+): ", lambda m: f"- {_code(m[1])}: ", line) for line in entries)


def _code(names: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split(", "))


def _joined(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
