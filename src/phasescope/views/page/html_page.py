"""One session as one HTML file that opens anywhere, offline: the page's own files, plotly's script, and the data.

Whatever the ring says is data to the page. It is embedded as JSON without any character that HTML or a script could
take for its own, and the page's policy lets no script run but those two, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import importlib.util
import json
import re
import time
from pathlib import Path
from typing import Any

from phasescope._json import json_text

SCRIPTS = ("text.js", "timeline.js", "made_of.js", "tables.js", "page.js")
"""The page's own, in the order in which they run, after plotly's."""

_DANGEROUS = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
_END_OF_SCRIPT = "</script"


class PlotlyMissingError(ImportError):
    """The plot script is plotly's; the text has the pip line."""

    def __init__(self) -> None:
        super().__init__('the plots need plotly: pip install "phasescope[web]"')


def page(snapshot: dict[str, Any], job: dict[str, Any] | None = None, *, made_ns: int | None = None) -> str:
    """Return the whole page. `snapshot` is `page_data.snapshot`'s, `job` a job's `to_dict`.

    Raises PlotlyMissingError.
    """
    scripts = [_script(text) for text in (plotly_script(), *map(asset, SCRIPTS))]
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"
    made_ms = (time.time_ns() if made_ns is None else made_ns) // 1_000_000
    data = {"snapshot": snapshot, "job": job, "made_ms": made_ms}
    parts = {
        '<link rel="stylesheet" href="assets/page.css">': f"<style>{asset('page.css')}</style>",
        **{f'<script src="assets/{name}" defer></script>\n': "" for name in ("plotly.min.js", *SCRIPTS)},
        "<!-- policy -->": f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        "<!-- data -->": f'<script type="application/json" id="data">{embedded_json(data)}</script>\n'
        + "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    shell = asset("index.html")
    pieces: list[str] = []
    for mark, content in sorted(parts.items(), key=lambda part: shell.index(part[0])):
        before, _, shell = shell.partition(mark)
        pieces += (before, content)
    return "".join((*pieces, shell))


def summary_of(made: str) -> dict[str, Any]:
    """Return the phases of a page that `page` made, in the form of `Summary.to_dict()`. Raises ValueError if it is
    none."""
    match = _DATA.search(made)
    if match is None:
        raise ValueError("it is not a page made by phasescope")
    data = json.loads(match[1])
    try:
        return {"phases": data["snapshot"]["phases"]["rows"]}
    except (KeyError, TypeError) as error:
        raise ValueError("its data have no phases") from error


def embedded_json(value: Any) -> str:
    """Return JSON in ASCII without a character that HTML or a script could take for its own.

    NaN and infinities are null.
    """
    text = json_text(value, separators=(",", ":"))
    for character, escaped in _DANGEROUS.items():
        text = text.replace(character, escaped)
    return text


def asset(name: str) -> str:
    """Return a file of the page's own."""
    return (importlib.resources.files("phasescope.views.page") / "assets" / name).read_text(encoding="utf-8")


def plotly_script() -> str:
    """Return the script that the installed plotly brings. Raises PlotlyMissingError."""
    spec = importlib.util.find_spec("plotly")  # importing it takes half a second, and only a file of it is needed
    if spec is None or spec.origin is None:
        raise PlotlyMissingError
    return (Path(spec.origin).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def _script(text: str) -> str:
    """Return a script as it can be embedded in a page: only its strings could hold the end of one."""
    return text.replace(_END_OF_SCRIPT, "<\\/script").replace("<!--", "<\\!--")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
