"""Say which batch fits: how memory grows with the batch, the largest that fits a device, and what would save.

It is computed from what memory was made of in a session, live or dead, and from the size of its batches: see
docs/fit.md. One session gives a range; two of the same training with different batches give the line itself. It
answers for a device with an allocator that counts, not for the host. Nothing is run. The exit code is 0 if a batch
fits, 4 if not even one sample does, and 5 if too little is known: then one line says what is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope._json import json_text
from phasescope.analysis.formatting import elide, printable
from phasescope.analysis.text.commands import what_runs
from phasescope.cli import NOT_COMPARABLE, OK, PROBLEM, WRONG_USAGE, CommandError
from phasescope.cli._output import Terminal, verdict_stands
from phasescope.cli._quantities import size_between, whole
from phasescope.cli._session_args import LIVE_FIRST, add_directory, add_json, number, opened

if TYPE_CHECKING:
    import argparse

    from phasescope.analysis.fit.usage import Usage
    from phasescope.readers.reader import Reader

_LONGEST_COMMAND = 120
_LEAST_DEVICE, _LARGEST_DEVICE = 1 << 20, 1 << 50
_MOST_SAMPLES, _MOST_RANKS = 1 << 40, 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="SESSION",
        help="a pid, a session id or its beginning, a .ring file, or a recording; several of one training with "
        f"different batches make it exact; default: {LIVE_FIRST}",
    )
    parser.add_argument(
        "--batch-size",
        type=whole(_MOST_SAMPLES),
        action="append",
        default=[],
        metavar="N",
        help="the samples in a batch of a session, if they are not known for sure; once for each SESSION, in order",
    )
    parser.add_argument(
        "--device-memory",
        type=size_between(_LEAST_DEVICE, _LARGEST_DEVICE),
        metavar="SIZE",
        help="fit a device of this size, such as 80GiB, instead of the one that was measured",
    )
    parser.add_argument(
        "--device", metavar="NAME", help="the device, such as cuda:1; default: the one with the most in use"
    )
    parser.add_argument(
        "--ranks", type=whole(_MOST_RANKS), metavar="N", help="count sharding over this many ranks; default: 8"
    )
    add_json(parser)
    add_directory(parser)


def run(arguments: argparse.Namespace) -> int:
    from phasescope.analysis.fit.forecast import FitError, fit
    from phasescope.analysis.fit.room import RoomError
    from phasescope.analysis.text.fit_text import fit_lines

    targets = arguments.targets or [None]
    if arguments.batch_size and len(arguments.batch_size) != len(targets):
        raise CommandError("--batch-size is given once for each SESSION, in the same order", WRONG_USAGE)
    usages, names = [], []
    for target in targets:
        with opened(target, arguments.dir) as reader:
            usages.append(_usage(reader, arguments.device))
            names.append(_name(reader))
    try:
        forecast = fit(
            usages,
            batch_sizes=arguments.batch_size,
            device_memory_bytes=arguments.device_memory,
            ranks=arguments.ranks,
        )
    except (FitError, RoomError) as error:
        raise CommandError(str(error), NOT_COMPARABLE) from error
    out = Terminal()
    with verdict_stands():
        if arguments.json:
            out.line(json_text({"sessions": names, **forecast.to_dict()}, indent=2))
        else:
            for name in names:
                out.line(name, "dim")
            first, *rest = fit_lines(forecast)
            out.line(first, "red" if forecast.largest_maybe == 0 else "green")
            for line in rest:
                out.line(line)
    return PROBLEM if forecast.largest_maybe == 0 else OK


def _usage(reader: Reader, device: str | None) -> Usage:
    """Return what the session used on the device that is asked for, or on the one where it used the most."""
    from phasescope.analysis.fit.usage import UsageFold

    fold = UsageFold()
    for event in reader.iter_events():
        fold.take(event)
    usages = fold.usages()
    if not usages:
        raise CommandError(
            f"{_name(reader)}: it is not known what its memory is made of: instrument(model, optimizer), the callbacks "
            "and phasescope run make it known",
            NOT_COMPARABLE,
        )
    if device is None:
        return usages[0]
    for usage in usages:
        if usage.label == device:
            return usage
    labels = ", ".join(usage.label for usage in usages)
    raise CommandError(f"--device {device}: what it holds is known only for {labels}", NOT_COMPARABLE)


def _name(reader: Reader) -> str:
    command = elide(what_runs(reader.constants), _LONGEST_COMMAND)
    return printable(f"pid {number(reader.constants.get('pid'))}: {command}")
