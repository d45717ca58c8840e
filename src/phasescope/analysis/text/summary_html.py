"""A summary as HTML for a notebook: the same figures as the text, and nothing in it that a browser obeys."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from phasescope.analysis.categories import made_of
from phasescope.analysis.formatting import plural

from . import allocator_table
from .summary_text import holders, missing_from, parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from phasescope.analysis.formatting import Column
    from phasescope.analysis.summary.summary import Summary

_MAX_ROWS = 200
_LEFT, _RIGHT = "text-align: left", "text-align: right"


def summary_html(summary: Summary, head: Sequence[str] = (), chart: str = "") -> str:
    """Return a `<div>` with the phases and the devices as tables, at most 200 rows each. It needs no style and no
    script. `head` are lines of text that come first, in place of the session's id; `chart` is HTML."""
    shown = parts(summary)
    html = ['<div class="phasescope">', *_head(head or shown.header[:1]), *_paragraph(shown.header[1:]), chart]
    if shown.phases:
        html += _table(shown.columns, shown.phases)
        html += _paragraph(shown.remarks)
        html += _table(allocator_table.COLUMNS, shown.allocator) if shown.allocator else []
    else:
        html += _paragraph(missing_from(summary))
    if shown.devices:
        html += _table(shown.device_columns, shown.devices)
        html += _paragraph(holders(((row.label, row.breakdown) for row in summary.devices), None))
        html += _paragraph(made_of(summary.devices))
    return "\n".join([*html, "</div>"])


def _head(lines: Sequence[str]) -> Iterator[str]:
    first, *rest = lines
    yield f"<p><b>{escape(first)}</b></p>"
    yield from _paragraph(rest)


def _paragraph(lines: Iterable[str]) -> Iterator[str]:
    text = "<br>".join(escape(line) for line in lines)
    if text:
        yield f"<p>{text}</p>"


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "<table>"
    yield f"<thead>{_row('th', columns, [column.title for column in columns])}</thead>"
    yield "<tbody>"
    for row in rows[:_MAX_ROWS]:
        yield _row("td", columns, row)
    yield "</tbody>"
    yield "</table>"
    if len(rows) > _MAX_ROWS:
        yield from _paragraph([f"and {plural(len(rows) - _MAX_ROWS, 'more row')}"])


def _row(tag: str, columns: Sequence[Column], cells: Sequence[str]) -> str:
    return f"<tr>{''.join(_cell(tag, column, cell) for column, cell in zip(columns, cells, strict=True))}</tr>"


def _cell(tag: str, column: Column, text: str) -> str:
    name = text.lstrip(" ")
    indent = "\N{NO-BREAK SPACE}" * (2 * (len(text) - len(name)))  # of a phase inside another one
    return f'<{tag} style="{_RIGHT if column.right else _LEFT}">{indent}{escape(name)}</{tag}>'
