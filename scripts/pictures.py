"""Makes the pictures of docs/pictures from a real run: a PyTorch training on the CPU, looked at in the terminal and in
a browser while it runs.

python scripts/pictures.py [--only top,web,report] [--seconds 40]

The terminal view needs textual, the pages need starlette, uvicorn, plotly, playwright and a Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
PARTS = ("top", "web", "report")
COLUMNS, LINES = 110, 36
PAGE = {"width": 1280, "height": 1120}
LARGEST_BYTES = 300 * 1024
_CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_PAINTED_MS = 1500
_PATIENCE_MS = 180_000
_DRAWN = "#phases tr:nth-child(4)"


@contextlib.contextmanager
def training(directory: str, seconds: float, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the training in a process of its own, under a command line that reads well in a picture."""
    folder = Path(directory).parent
    shutil.copy(ROOT / "scripts" / "pictured_training.py", folder / name)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    options: dict[str, Any] = {
        "cwd": folder,
        "env": {**os.environ, "PATH": path, "PHASESCOPE_DIR": directory},
        "stderr": subprocess.DEVNULL,  # the summary at its end
    }
    command = ["python", "-m", "phasescope", "run", name, str(round(seconds))]
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def picture_of_top(directory: str, seconds: float) -> str:
    """Return the terminal view after that many seconds, as SVG."""
    from phasescope.views.catalogue import Catalogue
    from phasescope.views.top.app import TopApp
    from phasescope.views.top.session_list import SessionWatch

    async def look() -> str:
        app = TopApp(SessionWatch(Catalogue([directory])))
        async with app.run_test(size=(COLUMNS, LINES)) as pilot:
            await pilot.pause(seconds)
            return app.export_screenshot(title="phasescope top")

    os.environ.pop("NO_COLOR", None)
    # Without the font from elsewhere: a picture asks nobody for anything.
    return re.sub(r"@font-face \{.*?\}", "", asyncio.run(look()), flags=re.DOTALL)


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        running = playwright.chromium.launch(executable_path=chromium, args=_CHROMIUM)
        yield running
        running.close()


def pictures_of_web(directory: str) -> None:
    """Take the live page, light and dark."""
    command = [sys.executable, "-m", "phasescope", "web", "--port", "0", "--dir", directory]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            with browser() as running:
                for scheme in ("light", "dark"):
                    _shoot(running, url, scheme, PICTURES / f"web-{scheme}.png")
        finally:
            server.terminate()


def picture_of_report(directory: str) -> None:
    """Take the page that is written of a session that is over."""
    page = Path(directory).parent / "run.html"
    subprocess.run([sys.executable, "-m", "phasescope", "report", "--dir", directory, "-o", str(page)], check=True)
    with browser() as running:
        _shoot(running, page.as_uri(), "light", PICTURES / "report.png")


def _shoot(running: Any, url: str, scheme: str, path: Path) -> None:
    context = running.new_context(viewport=PAGE, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(_PATIENCE_MS)
    page.goto(url)
    page.wait_for_selector(_DRAWN)
    page.wait_for_timeout(_PAINTED_MS)
    page.screenshot(path=str(path))
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--seconds", type=float, default=90.0, help="how long the training runs before it is looked at")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        directory = str(Path(folder) / "sessions")
        Path(directory).mkdir(mode=0o700)
        with training(directory, 3.0, "warm_up.py") as first:
            first.wait()
        with training(directory, 3600.0, "train.py") as running:
            time.sleep(arguments.seconds)
            if "top" in parts:
                (PICTURES / "top.svg").write_text(picture_of_top(directory, 6.0), encoding="utf-8")
            if "web" in parts:
                pictures_of_web(directory)
            running.kill()
            running.wait()
            if "report" in parts:
                picture_of_report(directory)
    for path in sorted(PICTURES.iterdir()):
        size = path.stat().st_size
        print(f"{path.relative_to(ROOT)}: {size / 1024:.0f} KiB" + ("  TOO LARGE" if size > LARGEST_BYTES else ""))


if __name__ == "__main__":
    main()
