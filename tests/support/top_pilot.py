"""The common parts of the tests of `phasescope top`: textual's pilot over real rings, and its screen as text."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from phasescope.views.catalogue import Catalogue
from phasescope.views.top.app import PARTS, TopApp
from phasescope.views.top.session_list import SessionWatch
from phasescope.views.top.widget import Drawing
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

WAIT_S = CEILING_S
"""For what should take a second: the machine is shared."""


class Driven:
    """A running view: its screen, and keys for it."""

    def __init__(self, app: TopApp, pilot: Any) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def screen(self) -> str:
        """The text on it, line by line from above."""
        return "\n".join(self.part(part) for part in PARTS if self.app.query_one(f"#{part}").display)

    def part(self, name: str) -> str:
        """Return one part of it."""
        drawing = self.app.query_one(f"#{name}", Drawing)
        return "\n".join(strip.text.rstrip() for strip in map(drawing.render_line, range(drawing.size.height)))

    async def press(self, *keys: str) -> None:
        """Press the keys and let the screen settle."""
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, condition: Callable[[], object]) -> float:
        """Wait for the view's next picture; return how long that took, in s."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < WAIT_S, f"it was not shown:\n{self.screen}"
            await self.pilot.pause(0.02)
        return time.monotonic() - began

    async def shows(self, *texts: str) -> float:
        """Wait until all of these are on the screen."""
        return await self.until(lambda: all(text in self.screen for text in texts))


def watching(
    directory: Path,
    test: Callable[[Driven], Awaitable[None]],
    *,
    size: tuple[int, int] = (80, 24),
    path: str | None = None,
    pid: int | None = None,
    named: tuple[str, ...] = (),
    export_to: Path | None = None,
) -> None:
    """Run the view over the sessions of a directory, and the test beside it."""

    async def run() -> None:
        watch = SessionWatch(Catalogue([directory], named, only_named=bool(named)), path, pid)
        app = TopApp(watch, [str(directory)], export_to)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await test(Driven(app, pilot))
            assert app.return_code in (None, 0)

    asyncio.run(run())
