"""Secrets in texts of others, command lines and messages of exceptions, which end up in files that people hand on.

A guess from names and forms: a secret that looks like nothing in particular stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["HIDDEN", "without_secrets", "words_without_secrets"]

HIDDEN = "***"

_NAME = re.compile(
    r"(?:.*[_.-])?(?:password|passwd|passphrase|secret|credentials?|authorization|cookie|"
    r"(?:api|access|account|client|encryption|private|secret|signing|storage|comet|hub|neptune|openai|wandb)[_-]?key|"
    r"(?:access|api|auth|bearer|bot|github|gitlab|hf|hub|id|refresh|sas|secret|security|session|slack|wandb)[_-]?token)"
    r"|(?:.*\.)?token|apikey|pwd|.*_pwd",
    re.IGNORECASE,
)
"""A tokenizer has tokens too: `pad_token` and `max_tokens` are none of these."""

_NOT_IN_PROSE = re.compile(r"(?:.*\.)?(?:token|secret|credentials?|cookie)", re.IGNORECASE)
_GIVEN = re.compile(
    r"(?<![\w.-])(?P<name>-*[A-Za-z_][\w.-]*)(?P<sign>[\"']?\s?[=:]\s?)"
    r"(?P<value>\"[^\"]*\"?|'[^']*'?|(?:(?:Basic|Bearer|Digest|Token)\s)?[^\s\"'&,;)\]}]+)"
)
_FORMS = tuple(
    (re.compile(pattern, re.DOTALL), replacement)
    for pattern, replacement in (
        # The user too: it may be a token.
        (r"(?<=://)(?!git@)[^\s/?#@\"'<>][^\s/?#\"'<>]*@", f"{HIDDEN}@"),
        (r"(?<=://)[^\s:/@?#\[]*:(?!\d+(?:[/?#]|$))\S*@", f"{HIDDEN}@"),  # a password that should be quoted
        (r"(?<=[?&])(sig|(?:X-Amz-|X-Goog-)?Signature)=[^&\s\"']*", rf"\1={HIDDEN}"),  # of a signed URL
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", HIDDEN),
        (r"\b([Bb]earer|[Bb]asic)\s(?=\S*[\d=])[\w+/.~=-]{4,}", rf"\1 {HIDDEN}"),
        (r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?", HIDDEN),
        (
            r"\b(?:hf_\w{20,}|sk-[\w-]{16,}|gh[opsur]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}"
            r"|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{30,})",
            HIDDEN,
        ),
    )
)


def without_secrets(text: str) -> str:
    """Return the text with `***` in place of what is, by its name or its form, a secret."""
    for pattern, replacement in _FORMS:
        text = pattern.sub(replacement, text)
    return _GIVEN.sub(_judged, text)


def words_without_secrets(words: Iterable[str]) -> list[str]:
    """Return the words of a command line with `***` in place of secrets, of those behind `--token` and its like too."""
    shown, is_value = [], False
    for word in words:
        shown.append(HIDDEN if is_value and not word.startswith("-") else without_secrets(word))
        is_value = word.startswith("-") and _NAME.fullmatch(word.lstrip("-")) is not None
    return shown


def _judged(found: re.Match[str]) -> str:
    name, sign, value = found["name"], found["sign"], found["value"]
    is_prose = ":" in sign and not sign.startswith(('"', "'")) and _NOT_IN_PROSE.fullmatch(name) is not None
    if _NAME.fullmatch(name.lstrip("-")) is None or is_prose:
        return found[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{name}{sign}{quote}{HIDDEN}{quote if value[1:].endswith(quote) else ''}"
