"""Compare the ranks of a job: which is slow, uses the most memory, or is behind, and in which phase.

DIR is a folder of recordings, of rings or of both, or a single file; name several for the ranks of several
machines. A dataset (docs/fleets.md) may have hundreds of ranks, and may be a URL such as s3://bucket/fleet.
Without DIR it reads the rings of this machine. Differences within the noise are not reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from phasescope._json import json_text
from phasescope.analysis.formatting import plural, printable
from phasescope.cli import MISSING_DEPENDENCY, OK, WRONG_USAGE, CommandError
from phasescope.cli._output import Terminal
from phasescope.cli._session_args import add_json, number

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from phasescope.analysis.jobs.imbalance import Ranks
    from phasescope.analysis.jobs.member import Member

    class _OfJob(Protocol):
        @property
        def constants(self) -> Mapping[str, Any]: ...

    _Read = tuple[Sequence[Member], Sequence[Sequence[_OfJob]]]

_MOST_OTHERS = 5
_NONE = "a session knows its rank from its launcher (torchrun, Slurm, an MPI), or by start(rank=, world_size=)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("places", nargs="*", metavar="DIR", help="a folder or file of rings or recordings")
    parser.add_argument(
        "--dir", metavar="DIR", action="append", default=[], help="the same as DIR, as in other commands"
    )
    parser.add_argument(
        "--job",
        metavar="ID",
        help="the job with this id, or its beginning, or the pid of one of its ranks; default: the newest",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from phasescope.analysis.jobs.imbalance import ranks
    from phasescope.recordings.dataset import is_dataset
    from phasescope.recordings.object_store import is_url, shown

    places = [*arguments.places, *arguments.dir]
    datasets = list(map(is_dataset, places))
    if any(datasets) and not all(datasets):
        raise CommandError("a dataset is compared by itself: name no other folder with it", WRONG_USAGE)
    ranks_read, others = (_in_datasets if any(datasets) else _in_folders)(places, arguments.job)
    if not ranks_read:
        raise CommandError(_not_found([shown(place) if is_url(place) else place for place in places], arguments.job))
    compared = ranks(ranks_read)
    out = Terminal()
    if arguments.json:
        out.line(json_text(compared.to_dict(), indent=2))
    else:
        _show(out, compared, others)
    return OK


def _in_folders(places: Sequence[str], wanted: str | None) -> _Read:
    from phasescope.views.catalogue import Folders
    from phasescope.views.job_loader import members

    try:
        folders = Folders(places)
        jobs = [job for job in folders.jobs() if _is_named(job, wanted)]
    except FileNotFoundError as error:
        raise CommandError(f'no folder or recording "{error.filename}"; a job is named with --job ID') from error
    except OSError as error:
        raise CommandError(f"{error.filename or 'a folder'}: {error.strerror or error}") from error
    return (members(folders.catalogue, jobs[0]) if jobs else []), jobs[1:]


def _in_datasets(places: Sequence[str], wanted: str | None) -> _Read:
    from phasescope.fleet.engine import engine
    from phasescope.fleet.members import jobs_of, members_of
    from phasescope.recordings.dataset import sessions_in

    try:
        sessions = [session for place in places for session in sessions_in(place)]
        if wanted is not None:  # where a folder says it, the others are not looked into
            sessions = [each for each in sessions if each.folders.get("job", "").startswith(wanted)] or sessions
        with engine() as asked:
            jobs = [job for job in jobs_of(asked, sessions) if len(job) > 1 and _is_named(job, wanted)]
            return (members_of(asked, jobs[0]) if jobs else []), jobs[1:]
    except ImportError as error:
        raise CommandError(str(error), MISSING_DEPENDENCY) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CommandError(f"{where}{error.strerror or error}") from error


def _is_named(job: Sequence[_OfJob], wanted: str | None) -> bool:
    if wanted is None:
        return True
    job_id = job[0].constants.get("job_id")
    if isinstance(job_id, str) and job_id.startswith(wanted):
        return True
    return wanted.isdecimal() and any(entry.constants.get("pid") == int(wanted) for entry in job)


def _not_found(places: Sequence[str], wanted: str | None) -> str:
    where = f" in {', '.join(places)}" if places else ""
    if wanted is not None:
        return f'no job "{wanted}"{where}: no job id begins with it, and no rank has this pid'
    return f"no session{where or ' here'} is one of several ranks of a job; {_NONE}"


def _show(out: Terminal, compared: Ranks, others: Sequence[Sequence[_OfJob]]) -> None:
    from phasescope.analysis.text.job_text import rank_report

    job = compared.job
    named = "a job" if job.job_id is None else f"job {printable(job.job_id)}"
    size = f" of {job.world_size}" if job.world_size is not None else ""
    out.line(f"{named}: {len(job.ranks)}{size} ranks on {', '.join(map(printable, job.hosts))}", "bold")
    if others:
        pids = ", ".join(str(number(job[0].constants.get("pid"))) for job in others[:_MOST_OTHERS])
        more = ", ..." if len(others) > _MOST_OTHERS else ""
        out.line(f"{plural(len(others), 'older job')} here as well; --job PID of one of its ranks: {pids}{more}", "dim")
    report = rank_report(compared, out.width)
    for title, *lines in (report.ranks, report.phases):
        out.line()
        out.line(title, "bold")
        for line in lines:
            out.line(line)
    out.line()
    for line in report.remarks:
        out.line(line)
