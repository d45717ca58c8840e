"""The answer in one line: problem, place, and next step. Every surface that shows a session shows this one first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phasescope.analysis.formatting import change_text, elide, path_text, printable, size_text

from .cause import (
    FAILED,
    GROWTH,
    KILLED_OUTSIDE,
    NONE,
    PHASE_RISES,
    WORKERS_GROW,
)
from .causes import why_not_known
from .census import main_keeper
from .census_text import keeper_text
from .ending import DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY
from .exhausted_limits import MAPPINGS, OPEN_FILES, SHARED_MEMORY, WORKER_KILLED
from .growth_text import called, names, not_known_of_workers

if TYPE_CHECKING:
    from .cause import Cause
    from .evidence import Evidence
    from .explanation import Explanation
    from .growth import Growth

_LONGEST = 160
_LONGEST_PATH = 60
_NEXT = "see explain"

_USED_UP = {
    MAPPINGS: "memory mappings used up, most likely",
    OPEN_FILES: "open files used up",
    SHARED_MEMORY: "shared memory (/dev/shm) too small, most likely",
    WORKER_KILLED: "a worker process was killed",
}


@dataclass(frozen=True)
class Verdict:
    """`kind` is the cause's, `text` one line for a person, `is_good` whether nothing is wrong as far as is known."""

    kind: str
    text: str
    is_good: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON types."""
        return {"kind": self.kind, "text": self.text, "is_good": self.is_good}


def verdict(answer: Explanation) -> Verdict:
    """Return the verdict on a session that was explained."""
    cause, evidence = answer.cause, answer.evidence
    if cause.kind == NONE:
        return Verdict(NONE, _healthy(evidence), is_good=True)
    return Verdict(cause.kind, f"{elide(printable(_wrong(cause, evidence)), _LONGEST)} ({_NEXT})", is_good=False)


def _healthy(evidence: Evidence) -> str:
    why = why_not_known(evidence)
    caught = "; memory ran out and was caught" if evidence.shortages else ""
    if why is not None:
        return f"nothing went wrong{caught}; whether memory grows is not known: {why}"
    workers = not_known_of_workers(evidence.unjudged_workers)
    return f"its own memory does not grow{caught}{workers}" if workers else f"healthy: memory does not grow{caught}"


def _wrong(cause: Cause, evidence: Evidence) -> str:
    ending = evidence.ending
    if ending.kind in (DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY):
        return f"{_ran_out(evidence)}: {_behind(cause, evidence)}"
    if cause.kind in (GROWTH, WORKERS_GROW) and cause.growth is not None:
        return _grows(cause.growth, "grew" if evidence.ending.is_over else "grows", evidence)
    if cause.kind == PHASE_RISES and cause.rise is not None:
        return f"memory rose all the time in {_path(cause.rise.path)}, by {size_text(cause.rise.risen_bytes)}"
    if cause.kind == KILLED_OUTSIDE:
        where = f" in {_path(ending.open_phases[-1].path)}" if ending.open_phases else ""
        return f"killed from outside or crashed{where}"
    grew = "" if cause.growth is None else f"; {_grows(cause.growth, 'grew', evidence)}"
    if cause.kind in _USED_UP:
        return f"{_USED_UP[cause.kind]}{f', in {_path(ending.path)}' if ending.path else ''}{grew}"
    return f"{ending.text if cause.kind == FAILED else _first_sentence(cause.text)}{grew}"


def _ran_out(evidence: Evidence) -> str:
    ending, shortage = evidence.ending, evidence.shortage
    on = shortage.label if shortage is not None else "the host" if ending.kind == HOST_OUT_OF_MEMORY else "a device"
    path = ending.path or (shortage.path if shortage is not None else ())
    where = f" in {_path(path)}" if path else ""
    return f"{'ran' if ending.certain else 'probably ran'} out of memory on {'the host' if on == 'host' else on}{where}"


def _behind(cause: Cause, evidence: Evidence) -> str:
    if cause.growth is not None:
        return _grows(cause.growth, "grew", evidence)
    if cause.rise is not None:
        return f"{_path(cause.rise.path)} took {size_text(cause.rise.risen_bytes)} since it began"
    return cause.brief or "why is not known"


def _grows(growth: Growth, grows: str, evidence: Evidence) -> str:
    rate = change_text(round(growth.bytes_per_step)).removeprefix("+")
    per = path_text(growth.per[-1:]) if growth.per else "sample"
    article = "an" if per[:1].lower() in "aeiou" else "a"
    keeper, is_most = main_keeper(growth, evidence.census) or (None, False)
    by = _kept_by(growth) if keeper is None else f", {'' if is_most else 'part of it '}kept by {keeper_text(keeper)}"
    return f"{called(growth)} {grows}: {rate} {article} {per}{by}"


def _kept_by(growth: Growth) -> str:
    """Name the phase that keeps it, as surely as it is known: on the host it only shows in a phase."""
    children = growth.children
    if children is not None:
        if children.left_behind:
            return f", {children.alive} of them left behind"
        return f", in {len(children.growing)} of {children.alive}" if children.growing else ""
    if growth.device == "host":
        return f", seen in {elide(names(growth.phases), _LONGEST_PATH)}" if len(growth.phases) == 1 else ""
    if growth.outside:
        return ", between the phases"
    return f", kept by {elide(names(growth.phases), _LONGEST_PATH)}" if growth.phases else ""


def _first_sentence(text: str) -> str:
    sentence = text.partition(". ")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]


def _path(path: tuple[str, ...]) -> str:
    return elide(path_text(path), _LONGEST_PATH)
