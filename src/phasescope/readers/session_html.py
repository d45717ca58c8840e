"""A session as a notebook shows it: which one, the verdict, how it ended, its memory over time, and its summary."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from phasescope.analysis.diagnosis.verdict import verdict
from phasescope.analysis.formatting import elide, printable
from phasescope.analysis.judged_view import JudgedView
from phasescope.analysis.text.chart_html import chart_html
from phasescope.analysis.text.summary_html import summary_html

from .diagnosis import Moment, oom_kills

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from phasescope.analysis.diagnosis.explanation import Explanation

    from .reader import Reader

_LONGEST = 160


def session_html(reader: Reader) -> str:
    """Return it, from one pass over the events. Raises what reading raises."""
    moment = Moment.of(reader)
    view = JudgedView()
    view.feed(reader.iter_events())
    answer = view.explanation(
        moment.state,
        heartbeat_ns=moment.heartbeat_ns,
        now_ns=moment.now_ns,
        oom_kills=oom_kills(reader),
        missed=(reader.missed, reader.damaged),
    )
    return summary_html(answer.evidence.summary, list(_head(reader.constants, answer)), chart_html(view.timeline))


def _head(constants: Mapping[str, Any], answer: Explanation) -> Iterator[str]:
    ending = answer.evidence.ending
    yield f"{_script(constants.get('command'))}: {elide(printable(ending.text), _LONGEST)}"
    yield verdict(answer).text


def _script(command: object) -> str:
    """Return what a person calls it by."""
    words = [word for word in command if isinstance(word, str)] if isinstance(command, list) else []
    script = next((word for word in words if word.endswith((".py", ".ipynb"))), None)
    return "this session" if script is None else elide(printable(PurePath(script).name), _LONGEST)
