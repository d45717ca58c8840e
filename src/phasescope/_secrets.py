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

_HINTS = (
    *("://", "pass", "secret", "token", "key", "credential", "auth", "cookie", "pwd", "bearer", "basic", "sig"),
    *("eyj", "hf_", "sk-", "gh", "glpat-", "xox", "akia", "asia", "aiza"),
)
"""In lower case: a text that holds none of them holds no secret. Most hold none, and the patterns take their time."""

_NAME = (
    r"(?:.*[_.-])?(?:password|passwd|passphrase|secret|credentials?|authorization|cookie|"
    r"(?:api|access|account|client|encryption|private|secret|signing|storage|comet|hub|neptune|openai|wandb)[_-]?key|"
    r"(?:access|api|auth|bearer|bot|github|gitlab|hf|hub|id|refresh|sas|secret|security|session|slack|wandb)[_-]?token)"
    r"|(?:.*\.)?token|apikey|pwd|.*_pwd"
)
"""A tokenizer has tokens too: `pad_token` and `max_tokens` are none of these."""

_NOT_IN_PROSE = r"(?:.*\.)?(?:token|secret|credentials?|cookie)"
_GIVEN = (
    r"(?<![\w.-])(?P<name>-*[A-Za-z_][\w.-]*)(?P<sign>[\"']?\s?[=:]\s?)"
    r"(?P<value>\"[^\"]*\"?|'[^']*'?|(?:(?:Basic|Bearer|Digest|Token)\s)?[^\s\"'&,;)\]}]+)"
)
_FORMS = (
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


def without_secrets(text: str) -> str:
    """Return the text with `***` in place of what is, by its name or its form, a secret."""
    if not _may_hold_one(text):
        return text
    for pattern, replacement in _FORMS:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    return re.sub(_GIVEN, _judged, text)


def words_without_secrets(words: Iterable[str]) -> list[str]:
    """Return the words of a command line with `***` in place of secrets, of those behind `--token` and its like too."""
    shown, is_value = [], False
    for word in words:
        shown.append(HIDDEN if is_value and not word.startswith("-") else without_secrets(word))
        is_value = word.startswith("-") and _is_secret(word.lstrip("-"))
    return shown


def _may_hold_one(text: str) -> bool:
    lowered = text.lower()
    return any(hint in lowered for hint in _HINTS)


def _is_secret(name: str) -> bool:
    return _may_hold_one(name) and re.fullmatch(_NAME, name, re.IGNORECASE) is not None


def _judged(found: re.Match[str]) -> str:
    name, sign, value = found["name"], found["sign"], found["value"]
    is_prose = (
        ":" in sign and not sign.startswith(('"', "'")) and re.fullmatch(_NOT_IN_PROSE, name, re.IGNORECASE) is not None
    )
    if is_prose or not _is_secret(name.lstrip("-")):
        return found[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{name}{sign}{quote}{HIDDEN}{quote if value[1:].endswith(quote) else ''}"
