"""The page in each of its states: read by axe-core, light and dark, at a desk and on a phone."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.views.catalogue import key_of
from support.browser import Watched, needs_axe, running_browser, violations
from support.fakes.made_rings import GIB, MADE_OF, MS, made_ring

pytest.importorskip("httpx")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("plotly")

from support.web_server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.web_server import Server

pytestmark = [
    needs_axe,
    pytest.mark.skipif(not hasattr(os, "getuid"), reason="sessions lie in files only where they can be locked"),
]

browser = pytest.fixture(scope="module")(running_browser)
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
DRAWN = "document.querySelector('#timeline .main-svg') !== null"


def says(selector: str, text: str) -> str:
    return f"document.querySelector('{selector}').innerText.includes({text!r})"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, Server]]:
    folder = tmp_path / "rings"
    folder.mkdir(mode=0o700)
    with serving("--dir", str(folder)) as server:
        yield folder, server


def look(browser: Any, address: str, ready: str) -> Watched:
    """Look at the page at a desk by night, and on a phone by day, which stays open."""
    for scheme, size in (("dark", DESK), ("light", PHONE)):
        watched = Watched(browser, bypass_csp=True, color_scheme=scheme, viewport=size)
        watched.page.goto(address)
        watched.until(ready)
        assert violations(watched.page) == [], scheme
        assert watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if size is DESK:
            watched.close()
    return watched


def test_without_a_session_it_says_how_to_begin_one(served: tuple[Path, Server], browser: Any) -> None:
    _, server = served
    watched = look(browser, server.url, says("#link", "live"))
    assert "phasescope run train.py" in watched.text("#waiting")
    watched.close()


def test_without_the_token_it_says_so_and_shows_nothing_else(served: tuple[Path, Server], browser: Any) -> None:
    _, server = served
    watched = look(browser, f"{server.base}/#token=wrong", says("#refused", "token is needed"))
    seen = "[...document.querySelectorAll('main > *, #save, #sessions')].filter((one) => one.offsetParent).length"
    assert watched.page.evaluate(seen) == 1
    watched.page.goto(server.url)
    watched.until(says("#link", "live"))
    assert not watched.page.is_visible("#refused")
    assert watched.page.is_visible("#save")
    watched.close()


@pytest.mark.parametrize("state", ["running", "silent", "finished", "out of memory"])
def test_a_session(served: tuple[Path, Server], browser: Any, state: str) -> None:
    folder, server = served
    with made_ring(folder, world_size=2, job_id="j") as ring, made_ring(folder, pid=7, rank=1, world_size=2) as other:
        for each in (ring, other):
            each.allocated = 40 * GIB
            if state == "running":
                each.now_ns = time.time_ns() + 3_600_000 * MS  # not silent, however long this test takes
            for _ in range(20):
                each.run(["step", "forward"], 60)
                each.run(["step"], 100)
            each.event("sample", extra=MADE_OF)
            each.event("warning", context="cuda:0 is at 91%")
        if state == "out of memory":
            ring.event("error", context="CUDA out of memory.", extra={"error_type": "X", "out_of_memory": True})
        if state not in ("running", "silent"):
            ring.stop()
        watched = look(browser, f"{server.base}/?session={key_of(ring.path)}#token={server.token}", DRAWN)
        assert watched.text("#state").startswith(state)
        chosen = "document.querySelector('#sessions option:checked').innerText"
        watched.until(f"{chosen}.includes(document.getElementById('state').innerText.slice(0, 6))")
        watched.close()
