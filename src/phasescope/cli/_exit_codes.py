"""The exit codes and what each of them means: the help and docs/cli.md have both from here."""

from __future__ import annotations

OK = 0
NOT_FOUND = 1
WRONG_USAGE = 2
MISSING_DEPENDENCY = 3
PROBLEM = 4
NOT_COMPARABLE = 5
NO_ANSWER = 6
INTERRUPTED = 130

EXIT_CODES = {
    OK: "done, also if the reader of a pipe has ended (`phasescope tail | head`), unless the verdict is 4",
    NOT_FOUND: "nothing found, no such session, or a file that cannot be read or written; for `doctor`: no directory "
    "can hold a session",
    WRONG_USAGE: "wrong usage",
    MISSING_DEPENDENCY: "an optional dependency is missing; the message is the `pip install` line",
    PROBLEM: "`explain`: it found a problem; `compare`: a rule of `--fail-on` is broken, or cannot be checked; "
    "`fit`: not even one sample fits",
    NOT_COMPARABLE: "`compare`: nothing could be compared, because no figure is known on both sides; with rules too; "
    "`fit`: too little is known, the message says what",
    NO_ANSWER: "`snapshot`: the training does not answer; the message says why, as far as that can be seen",
    INTERRUPTED: "ended by Ctrl-C; except `record`, for which that is the usual end: it keeps its file and exits "
    "with 0",
}

OF_RUN = "`run` ends as Python alone would, unless its own options are wrong (2) or need what is missing (3)."


def exit_codes_page() -> str:
    """Return the table for the documentation."""
    rows = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    return f"| code | meaning |\n|---|---|\n{rows}\n\n{OF_RUN}\n"
