"""A summary as HTML for a notebook: the same figures as the text, and nothing in it that a browser obeys."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import plural

from .summary_text import holders, missing_from, parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from phasescope.analysis.formatting import Column
    from phasescope.analysis.summary.summary import Summary

_MAX_ROWS = 200
_LEFT, _RIGHT = "text-align: left", "text-align: right"


def summary_html(summary: Summary, heading: str | None = None) -> str:
    """A `<div>` with the phases and the devices as tables, at most 200 rows each. It needs no style and no script."""
    shown = parts(summary)
    lines = shown.header if heading is None else [heading, *shown.header[1:]]
    html = ['<div class="phasescope">', *_paragraph(lines)]
    if shown.phases:
        html += _table(shown.columns, shown.phases)
        html += _paragraph(shown.remarks)
    else:
        html += _paragraph(missing_from(summary))
    if shown.devices:
        html += _table(shown.device_columns, shown.devices)
        html += _paragraph(holders(((row.label, row.breakdown) for row in summary.devices), None))
    return "\n".join([*html, "</div>"])


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
