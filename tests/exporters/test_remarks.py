"""What an exporter says, wherever it goes."""

from __future__ import annotations

import contextlib
import io

from phasescope.exporters.remarks import safely


def test_a_line_that_nothing_takes_does_not_end_the_thread_that_says_it() -> None:
    closed, out = io.StringIO(), io.StringIO()
    closed.close()
    safely(lambda line: print(line, file=closed))("the collector takes traces again")
    with contextlib.redirect_stdout(out):
        safely(print)("alerts are taken again")
    assert out.getvalue() == "alerts are taken again\n"
