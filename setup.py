"""What pyproject.toml has no words for: the compiled core, and what the package index shows.

The core is optional: where it can not be compiled, the install goes on without it, and `phasescope doctor` says so.

The index shows README.md, which points to files beside it that are not there. Pictures are left out; a link to a file
becomes its name, to be found in the source.
"""

import os
import re
import sys
from pathlib import Path

from setuptools import Extension, setup

_CORE = Path("src") / "phasescope" / "_native"

_PICTURE = re.compile(r"^!\[[^\]]*\]\((?![a-z]+:)[^)]*\)\n+", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\((?![a-z]+:)([^)#]*)[^)]*\)")


def _name(link: re.Match[str]) -> str:
    text, path = link.groups()
    return f"`{path}`" if text == path else f"{text} (`{path}`)"


def description(readme: str) -> str:
    """Return the text of the README as it stands by itself."""
    text = _LINK.sub(_name, _PICTURE.sub("", readme))
    return text.replace("\nApache-2.0.\n", "\nThe files named here are in the source distribution.\n\nApache-2.0.\n")


def core() -> list[Extension]:
    """Return the compiled core, unless `PHASESCOPE_PURE_PYTHON` asks for a wheel without it."""
    if os.environ.get("PHASESCOPE_PURE_PYTHON", "0") not in ("", "0") or sys.implementation.name != "cpython":
        return []
    here = Path(__file__).parent
    sources, headers = (sorted((here / _CORE).glob(f"*.{end}")) for end in "ch")
    return [
        Extension(
            "phasescope._native._core",
            [str(path.relative_to(here)) for path in sources],
            depends=[str(path.relative_to(here)) for path in headers],
            libraries=[] if sys.platform == "win32" else ["m"],
            extra_compile_args=[] if sys.platform == "win32" else ["-std=c11", "-O2", "-g0", "-fvisibility=hidden"],
            optional=True,
        )
    ]


if __name__ == "__main__":
    here = Path(__file__).parent
    setup(
        long_description=description((here / "README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
        ext_modules=core(),
    )
