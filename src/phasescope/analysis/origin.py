"""The origin of a session, by its constants: `phasescope run`, a process that one started, or the script itself."""

from __future__ import annotations

from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_JOB_OF_RUN = "run-"


def job_of_run(constants: Mapping[str, Any]) -> str:
    """Return the job of the processes that a session's run starts."""
    return f"{_JOB_OF_RUN}{str(constants.get('session_id'))[:12]}"


def command_under_run(constants: Mapping[str, Any]) -> list[str] | None:
    """Return the command line of a session that `phasescope run` began, or a process that one started; else None."""
    given = constants.get("command")
    words = [word for word in given if isinstance(word, str)] if isinstance(given, list) else []
    for before, word in pairwise(words):
        if word == "run" and PurePath(before).stem == "phasescope":
            return words
    job = constants.get("job_id")
    return words if isinstance(job, str) and job.startswith(_JOB_OF_RUN) else None
