"""What the package index shows: README.md, which points to files beside it that are not there.

All else is in pyproject.toml. Pictures are left out; a link to a file becomes its name, to be found in the source.
"""

import re
from pathlib import Path

from setuptools import setup

_PICTURE = re.compile(r"^!\[[^\]]*\]\((?![a-z]+:)[^)]*\)\n+", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\((?![a-z]+:)([^)#]*)[^)]*\)")


def _name(link: re.Match[str]) -> str:
    text, path = link.groups()
    return f"`{path}`" if text == path else f"{text} (`{path}`)"


def description(readme: str) -> str:
    """The text of the README as it stands by itself."""
    text = _LINK.sub(_name, _PICTURE.sub("", readme))
    return text.replace("\nApache-2.0.\n", "\nThe files named here are in the source distribution.\n\nApache-2.0.\n")


if __name__ == "__main__":
    here = Path(__file__).parent
    setup(
        long_description=description((here / "README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
    )
