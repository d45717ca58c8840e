"""The public names: on the site by mkdocstrings, and in docs/api.md for whoever reads the repository.

python scripts/api_page.py

mkdocs.yml names this file twice: as a hook, which gives the site's page mkdocstrings' directives, and as an extension
of Griffe, which reads the sources for both pages without running them.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
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
    "DeviceLine": ("categories",),
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
_LITERAL = re.compile(r"[-\d'\"]|(None|True|False)$")
_WIDTH = 110
_PREAMBLE = """\
# The public names

<!-- Made by scripts/api_page.py from the docstrings: change those. -->

This page lists everything that phasescope promises: the names of `phasescope`, `phasescope.testing`,
`phasescope.backends.protocol` and `phasescope.integrations.*`. All other modules, and members that are not listed here,
may change at any time. `import phasescope` loads nothing else; each name is loaded at its first use.

Times end in `_ns` (a duration, or the wall clock in ns since the epoch), sizes in `_bytes`. None means: not known.
"""


class Section(NamedTuple):
    """A heading of the page, with the module that it is of and the public names below it."""

    heading: str
    module: str
    names: tuple[str, ...]


class Public(griffe.Extension):  # type: ignore[misc]
    """Leave of the package what it promises, with the integrations in their place."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: Any) -> None:
        if pkg.name == "phasescope":
            pkg.set_member("integrations", loader.load("integrations"))

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        for name, member in list(cls.members.items()):
            if not _is_promised(cls, member):
                del cls.members[name]
            elif member.is_attribute and not _LITERAL.match(str(member.value)):
                member.value = None  # made for each object


def _is_promised(cls: griffe.Class, member: griffe.Object | griffe.Alias) -> bool:
    if member.name == "__init__":
        return cls.name in CONSTRUCTED
    if member.name.startswith("_") or member.name in INTERNAL.get(cls.name, ()):
        return False
    if member.is_attribute and member.labels == {"instance-attribute"}:  # set in `__init__`, and nothing is said of it
        return member.annotation is not None
    return not (cls.name == "PhaseCallback" and _HOOK.fullmatch(member.name))  # the framework calls it, and no user


@functools.cache
def package() -> griffe.Module:
    """Read the sources."""
    loader = griffe.GriffeLoader(
        extensions=griffe.load_extensions(Public()), search_paths=[ROOT / "src", ROOT], docstring_parser="google"
    )
    loaded = loader.load("phasescope")
    loader.resolve_aliases()
    assert isinstance(loaded, griffe.Module)
    return loaded


def sections() -> Iterator[Section]:
    """Iterate over the whole public surface."""
    for heading, names in SECTIONS.items():
        yield Section(heading, "phasescope", names)
    for path in MODULES:
        yield Section(f"`{path}`", path, tuple(_public(package()[path.removeprefix("phasescope.")])))


def _public(module: griffe.Module) -> Iterator[str]:
    """Iterate over the names that a module gives out, as they stand in it; a plugin without `__all__` is not for
    importing."""
    if module.exports is None and module.functions:
        return
    for name, member in module.members.items():
        if not member.is_alias and (name in module.exports if module.exports else not name.startswith("_")):
            yield name


def entries(section: Section) -> Iterator[griffe.Object]:
    """Iterate over what stands below a heading."""
    for name in section.names:
        entry = package()[f"{section.module}.{name}".removeprefix("phasescope.")]
        yield entry.final_target if entry.is_alias else entry


def fields(entry: griffe.Object) -> list[Any]:
    """Return a class's fields and properties."""
    return [member for member in entry.members.values() if member.is_attribute]


def methods(entry: griffe.Object) -> list[Any]:
    """Return a class's methods, and classes within it."""
    return [member for member in entry.members.values() if not member.is_attribute and member.name != "__init__"]


def doc(entry: griffe.Object) -> str:
    """Return a docstring, or nothing."""
    return "" if entry.docstring is None else entry.docstring.value


# --- the site --------------------------------------------------------------------------------------------------------


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Give mkdocstrings the public names, in place of the page of the repository."""
    return directives() if page.file.src_uri == PAGE.name else markdown


def directives() -> str:
    """Return the page with a directive for each name, below the anchor that the repository's page has for it."""
    parts, anchors = [_PREAMBLE], {section.heading.lower() for section in sections()}
    for section in sections():
        parts += [f"## {section.heading}\n", _module_doc(section)]
        for name in section.names:
            anchor = "" if name.lower() in anchors else f'<a id="{name.lower()}"></a>\n\n'
            anchors.add(name.lower())
            parts.append(f"{anchor}::: {section.module}.{name}\n")
    return "\n".join(parts)


def _module_doc(section: Section) -> str:
    return "" if section.module == "phasescope" else doc(package()[section.module.removeprefix("phasescope.")]) + "\n"


# --- the repository --------------------------------------------------------------------------------------------------


def page() -> str:
    """Render the repository's page."""
    parts = [_PREAMBLE]
    for section in sections():
        parts += [f"## {section.heading}\n", _module_doc(section)]
        for entry in entries(section):
            parts += _rendered(entry)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts))


def _rendered(entry: griffe.Object) -> Iterator[str]:
    yield f"### {entry.name}\n"
    bare = [_signature(each) for each in fields(entry) if not doc(each)]
    lines = [_wrapped(_signature(entry)) + (":" if bare else ""), *(f"    {each}" for each in bare)]
    yield "\n".join(["```python", *lines, "```\n"])
    yield from _markdown(entry)
    yield "".join(f"- `{_signature(each)}`: {' '.join(doc(each).split())}\n" for each in fields(entry) if doc(each))
    for method in methods(entry):
        yield f"**`{_signature(method)}`**\n"
        yield from _markdown(method)


def _signature(entry: griffe.Object) -> str:
    if isinstance(entry, griffe.Function):
        return str(entry.signature(return_type=True))
    if isinstance(entry, griffe.Class):
        if "__init__" in entry.members:
            return f"class {entry.signature()}"
        shown = [base for base in map(str, entry.bases) if base not in ("NamedTuple", "ABC", "_Fields")]
        return f"class {entry.name}" + (f"({', '.join(shown)})" if shown else "")
    assert isinstance(entry, griffe.Attribute)
    annotation = "" if entry.annotation is None else f": {entry.annotation}"
    value = "" if entry.value is None else f" = {entry.value}"
    return f"{entry.name}{annotation}{value}"


def _wrapped(signature: str) -> str:
    """Return a parameter a line, where all are too long for one."""
    if len(signature) <= _WIDTH:
        return signature
    head, _, rest = signature.partition("(")
    parameters, _, returns = rest.rpartition(")")
    parts = re.split(r", (?![^\[(]*[\])])", parameters)
    return "\n".join([f"{head}(", *(f"    {part}," for part in parts), f"){returns}"])


def _markdown(entry: griffe.Object) -> Iterator[str]:
    """Iterate over the parts of a docstring: a list where it explains parameters."""
    for section in [] if entry.docstring is None else entry.docstring.parse("google"):
        if isinstance(section, griffe.DocstringSectionParameters):
            yield "".join(f"- `{each.name}`: {' '.join(each.description.split())}\n" for each in section.value)
        else:
            yield f"{section.value}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
