"""Compare the ranks of a job: who is slow, who uses the most memory, in which phase, and who is behind.

DIR is a folder of recordings, of rings or of both, or a single file; name as many as there are, as for the ranks of
several machines. Without DIR it looks at the rings of this machine. Differences within the noise are not told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import plural, printable
from phasescope.cli import OK, CommandError
from phasescope.cli._output import Terminal, json_text
from phasescope.cli._session_args import number

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from phasescope.analysis.jobs.imbalance import Ranks
    from phasescope.views.catalogue import Entry

_MOST_OTHERS = 5
_NONE = "rank and world size come from torchrun, Open MPI or Slurm, or from start(rank=, world_size=)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("places", nargs="*", metavar="DIR", help="where the ranks' rings or recordings lie")
    parser.add_argument("--dir", metavar="DIR", action="append", default=[], help="the same, as in other commands")
    parser.add_argument(
        "--job",
        metavar="ID",
        help="the job with this id, or its beginning, or the pid of one of its ranks; default: the newest",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    from phasescope.analysis.jobs.imbalance import ranks
    from phasescope.views.folders import Folders
    from phasescope.views.job_loader import members

    places = [*arguments.places, *arguments.dir]
    try:
        folders = Folders(places)
        jobs = [job for job in folders.jobs() if _is_named(job, arguments.job)]
    except OSError as error:
        raise CommandError(f"{error.filename or 'a folder'}: {error.strerror or error}") from error
    found = members(folders.catalogue, jobs[0]) if jobs else []
    if not found:
        raise CommandError(_not_found(places, arguments.job))
    told = ranks(found)
    out = Terminal()
    if arguments.json:
        out.line(json_text(told.to_dict(), indent=2))
    else:
        _show(out, told, jobs[1:])
    return OK


def _is_named(job: Sequence[Entry], wanted: str | None) -> bool:
    if wanted is None:
        return True
    job_id = job[0].constants.get("job_id")
    if isinstance(job_id, str) and job_id.startswith(wanted):
        return True
    return wanted.isdecimal() and any(entry.constants.get("pid") == int(wanted) for entry in job)


def _not_found(places: Sequence[str], wanted: str | None) -> str:
    where = f" in {', '.join(places)}" if places else ""
    return f'no job "{wanted}"{where}' if wanted is not None else f"no job of several ranks{where}; {_NONE}"


def _show(out: Terminal, told: Ranks, others: Sequence[Sequence[Entry]]) -> None:
    from phasescope.analysis.rankreport import rank_report

    job = told.job
    named = "a job" if job.job_id is None else f"job {printable(job.job_id)}"
    size = f" of {job.world_size}" if job.world_size is not None else ""
    out.line(f"{named}: {len(job.ranks)}{size} ranks on {', '.join(map(printable, job.hosts))}", "bold")
    if others:
        pids = ", ".join(str(number(job[0].constants.get("pid"))) for job in others[:_MOST_OTHERS])
        more = ", ..." if len(others) > _MOST_OTHERS else ""
        out.line(f"{plural(len(others), 'older job')} here as well; --job PID of one of its ranks: {pids}{more}", "dim")
    report = rank_report(told, out.width)
    for title, *lines in (report.ranks, report.phases):
        out.line()
        out.line(title, "bold")
        for line in lines:
            out.line(line)
    out.line()
    for line in report.remarks:
        out.line(line)
