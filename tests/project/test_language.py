"""Documents and messages keep the wording that CONTRIBUTING.md asks for, as far as a pattern can tell."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [
    *(path for folder in ("src", "integrations", "examples") for path in sorted((ROOT / folder).rglob("*.py"))),
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
ELSEWHERE = [
    *sorted((ROOT / "src").rglob("*.[ch]")),
    *(path for folder in ("tests", "scripts", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))),
]
DOCUMENTS = [path for path in SOURCES if path.suffix == ".md" and path.name != "CHANGELOG.md"]


def found(pattern: str, paths: list[Path]) -> list[str]:
    """Return every place where the pattern matches, as file, line number and line."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text("utf-8").split("\n"), 1)
        if re.search(pattern, line)
    ]


def test_cannot_is_one_word() -> None:
    assert len(SOURCES) > 200
    assert found(r"\b[Cc]an not\b", SOURCES) == []


def test_sources_and_documents_leave_out_wording_that_reads_as_translated() -> None:
    paths = [path for path in (*SOURCES, *ELSEWHERE) if path != Path(__file__)]
    assert len(paths) > 700
    assert found(_TRANSLATED, paths) == []


_TRANSLATED = "|".join(
    (
        r"\b(anew|[Ss]o many)\b",
        r"\b(is|are|was|were|be|been) told (apart|by|from|of|per)\b",
        r"\b[Ww]hat tells\b",
        r"\bgone without\b",
        r"\b[Dd]ear beside\b",
        r"\bin the passing\b",
        r"\bfor who (is|takes|cannot|wants|asks|reads)\b",
        r"\bcomes? to be under\b",
        r"\bthat that many\b",
        r"\bis none of\b",
        r"\b(if it|that) is none\b",
        r"\b(does|do|did) not tell[.;:,]",
        r"\bheld against\b",
        r"\bbegin of\b",
        r"\bin the midst of\b",
        r"\bfares\b",
        r"\bmetadata have\b",
    )
)


def test_a_class_has_a_name_of_its_own() -> None:
    """A name that two classes have, with an underscore or without, means two things to whoever reads it."""
    classes: dict[str, list[str]] = {}
    for path in (path for path in SOURCES if path.suffix == ".py"):
        for name in re.findall(r"^class _?(\w+)", path.read_text("utf-8"), re.MULTILINE):
            classes.setdefault(name, []).append(path.name)
    assert len(classes) > 500
    del classes["PhaseCallback"]  # one for each framework, by its design
    assert {name: paths for name, paths in classes.items() if len(paths) > 1} == {}


def test_a_function_says_what_it_does_beginning_with_a_verb() -> None:
    assert without_verb('def f():\n    """Whether it holds."""') == ["Whether it holds."]
    assert without_verb('def f():\n    """Return whether it holds."""') == []
    wrong = {path: without_verb(path.read_text("utf-8")) for path in SOURCES if path.suffix == ".py"}
    assert {str(path.relative_to(ROOT)): lines for path, lines in wrong.items() if lines} == {}


def without_verb(source: str) -> list[str]:
    """Return the first lines of the functions' docstrings that begin with another word than a verb."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    lines = [
        (ast.get_docstring(node) or "").partition("\n")[0]
        for node in functions
        if not any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    return [line for line in lines if re.match(_NO_VERB, line)]


_NO_VERB = re.compile(
    r"(?:what|whether|how|where|who|why|which|the|an?|one|all|each|any|its|of|as|by|none|nothing|those|so)\b",
    re.IGNORECASE,
)
