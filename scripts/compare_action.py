"""Run `phasescope compare` in a GitHub workflow: the table into the job's summary and a comment of the pull request.

It is what action.yml calls, with nothing but the standard library and the command. Its exit code is the command's.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

LONGEST = 60_000
"""GitHub takes comments of 65,536 characters."""

_VERDICTS = {0: "within the budget", 4: "**a rule is broken**", 5: "**nothing could be compared**"}
_TIMEOUT_S = 30
_PAGES = 20
_WIDTH = "120"


def main() -> int:
    """Compare, and tell. Nothing that goes wrong with the telling changes the exit code."""
    code, shown = compared()
    print(as_plain_lines(shown))
    text = as_markdown(os.environ.get("COMPARE_TITLE") or "phasescope compare", code, shown)
    append("GITHUB_STEP_SUMMARY", text)
    append("GITHUB_OUTPUT", f"exit-code={code}\n")
    number = pull_request()
    if os.environ.get("COMPARE_COMMENT", "true") == "true" and number is not None:
        try:
            post(number, text)
        except (OSError, ValueError) as error:
            reason = f"{error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
            print(f"::notice::the table was not posted ({reason}); of a fork's pull request the token may only read")
    return code


def compared() -> tuple[int, str]:
    """Return the exit code of the command, and what it printed."""
    rules = [line.strip() for line in os.environ.get("COMPARE_FAIL_ON", "").splitlines() if line.strip()]
    arguments = [f"--fail-on={rule}" for rule in rules]
    if os.environ.get("COMPARE_ALL") == "true":
        arguments.append("--all")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "phasescope", "compare", *arguments, "--"),
            *(os.environ["COMPARE_BEFORE"], os.environ["COMPARE_AFTER"]),
        ],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        env={**os.environ, "COLUMNS": _WIDTH, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
    )
    return done.returncode, (done.stdout + done.stderr).rstrip()


def as_plain_lines(shown: str) -> str:
    """Return the table for the job's log, where a line that begins with `::` would command the runner: a phase may be
    called anything."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return shown
    token = secrets.token_hex(16)
    return f"::stop-commands::{token}\n{shown}\n::{token}::"


def as_markdown(title: str, code: int, shown: str) -> str:
    """Return the table as text that no name of a phase can break out of. The first line finds it again."""
    plain = " ".join(re.sub(r"[^\w .,:()/-]", "", title).split())
    verdict = {0: "within the budget", 4: "**a rule is broken**", 5: "**nothing could be compared**"}.get(
        code, "**failed**"
    )
    if len(shown) > LONGEST:
        shown = shown[:LONGEST] + "\n…"
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 3)
    return f"{marker(plain)}\n### {plain}: {verdict}\n\n{fence}text\n{shown}\n{fence}\n"


def marker(title: str) -> str:
    """Return the line by which a later run finds the comment."""
    return f"<!-- phasescope compare: {title.replace('--', '')} -->"


def append(variable: str, text: str) -> None:
    """Add to the file that GitHub names, if it names one."""
    path = os.environ.get(variable)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)


def pull_request() -> int | None:
    """Return the number of the pull request that the workflow runs for, None if it runs for none."""
    try:
        event: Any = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
        return int(event["pull_request"]["number"])
    except (KeyError, TypeError, ValueError, OSError):
        return None


def post(number: int, text: str) -> None:
    """Post the comment, or write over that of an earlier run."""
    base = f"/repos/{os.environ['GITHUB_REPOSITORY']}/issues"
    first = text.partition("\n")[0]
    for page in range(1, _PAGES + 1):
        comments = asked("GET", f"{base}/{number}/comments?per_page=100&page={page}")
        for comment in comments:
            if str(comment.get("body", "")).startswith(first):
                asked("PATCH", f"{base}/comments/{int(comment['id'])}", {"body": text})
                return
        if len(comments) < 100:
            break
    asked("POST", f"{base}/{number}/comments", {"body": text})


def asked(method: str, path: str, body: Any = None) -> Any:
    """Return what GitHub answers. Raises OSError and ValueError."""
    url = os.environ.get("GITHUB_API_URL", "https://api.github.com") + path
    headers = {
        "Authorization": f"Bearer {os.environ['COMPARE_TOKEN']}",
        "Accept": "application/vnd.github+json",
        "Content-Type": "application/json",
        "User-Agent": "phasescope",
    }
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main())
