"""A session whose every text is markup, and the look at a page that has obeyed none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.fakes.made_rings import MS, MadeRing

if TYPE_CHECKING:
    from support.browser import Watched

HOSTILE = (
    '</script><script>alert(1)</script><img src=x onerror=alert(2)><a href="javascript:alert(3)">x</a>&lt;b&gt;\u2028'
)


def hostile(ring: MadeRing) -> None:
    """Put markup wherever the ring has a place for text."""
    number = ring.enter([HOSTILE], None, {HOSTILE: HOSTILE})
    ring.now_ns += 50 * MS
    ring.run([HOSTILE, "<b>inner</b>"], 30, number)
    ring.event("error", context=HOSTILE, extra={"error_type": HOSTILE, "out_of_memory": False})
    ring.event("warning", context=HOSTILE)
    ring.leave(number, [HOSTILE], None, 80 * MS, "error")
    ring.event(HOSTILE, context=HOSTILE)


def assert_harmless(watched: Watched) -> None:
    """Check that no element came of any text, also not when the plot's own labels are shown."""
    box = watched.page.locator("#timeline .main-svg").first.bounding_box()
    assert box is not None
    for share in (0.2, 0.5, 0.8):
        watched.page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] - 40)
        watched.page.wait_for_timeout(50)
    assert (
        watched.page.evaluate(
            "document.querySelectorAll('main img, main b, main a, main script, svg a, svg img').length"
        )
        == 0
    )
    assert watched.page.evaluate("document.querySelectorAll('main [onerror], main [href]').length") == 0
    assert watched.wrong == []
