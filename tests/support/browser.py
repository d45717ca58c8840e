"""A headless Chromium for tests, if there is one."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HAS_PLAYWRIGHT = importlib.util.find_spec("playwright") is not None

needs_browser = pytest.mark.skipif(
    CHROMIUM is None or not HAS_PLAYWRIGHT, reason="there is no chromium, or no playwright to drive it"
)
_AXE = importlib.util.find_spec("axe_playwright_python")
needs_axe = pytest.mark.skipif(
    CHROMIUM is None or not HAS_PLAYWRIGHT or _AXE is None,
    reason="there is no chromium, or no playwright to drive it, or no axe-playwright-python",
)
_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]


def running_browser() -> Iterator[Any]:
    """Yield the browser, for a fixture of a module."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_OPTIONS, timeout=CEILING_S * 1000)
        yield browser
        browser.close()


def violations(page: Any) -> list[str]:
    """Return what axe-core has against a page: the rules, each with the first element that breaks it."""
    assert _AXE is not None
    assert _AXE.origin is not None
    if not page.evaluate("'axe' in window"):
        page.add_script_tag(content=(Path(_AXE.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
    told = "violations.map((violation) => `${violation.id}: ${violation.nodes[0].html}`)"
    found: list[str] = page.evaluate(f"axe.run(document).then(({{ violations }}) => {told})")
    return found


class Watched:
    """A page that notes events that must never happen: an error, a dialog, a request to elsewhere."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.context.set_default_timeout(CEILING_S * 1000)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.requested: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("console", self._console)
        self.page.on("dialog", self._dialog)
        self.page.on("request", lambda request: self.requested.append(request.url))

    def _console(self, said: Any) -> None:
        if said.type == "error":
            self.wrong.append(f"console: {said.text} {(said.location or {}).get('url', '')}".rstrip())

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def text(self, selector: str) -> str:
        """Return the text that a person reads there."""
        return str(self.page.inner_text(selector))

    def until(self, condition: str) -> None:
        """Wait for a condition in the page, asked from outside: the page's own policy lets nothing be evaluated."""
        until(lambda: self._holds(condition), pause_s=0.02, state=lambda: f"{condition}; {self.wrong}")

    def _holds(self, condition: str) -> bool:
        from playwright.sync_api import Error

        try:
            return bool(self.page.evaluate(condition))
        except Error as error:
            if "navigation" in str(error):  # the page was just left for another
                return False
            raise

    def close(self) -> None:
        self.context.close()
