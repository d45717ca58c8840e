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
PAGE = {"width": 1280, "height": 860}
LARGEST_BYTES = 300 * 1024
_CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_PAINTED_MS = 1500
_DRAWN = "#phases tr:nth-child(4)"


def train(directory: str, seconds: float) -> None:
    """A small transformer that learns to add numbers, evaluated every epoch; it prints a line once it trains."""
    import torch

    import phasescope
    from phasescope import phase

    torch.manual_seed(0)
    torch.set_num_threads(1)
    layer = torch.nn.TransformerEncoderLayer(192, 4, 768, batch_first=True)
    model = torch.nn.Sequential(
        torch.nn.Linear(16, 192), torch.nn.TransformerEncoder(layer, 3), torch.nn.Linear(192, 1)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    data = torch.utils.data.TensorDataset(torch.rand(320, 64, 16))
    loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)

    def loss_of(inputs: Any) -> Any:
        return (model(inputs).squeeze(-1) - inputs.sum(-1).cumsum(1) / 64).square().mean()

    with phasescope.start(directory=directory):
        print("ready", flush=True)
        end = time.monotonic() + seconds
        epoch = 0
        while time.monotonic() < end:
            with phase("epoch", n=epoch):
                for (inputs,) in phasescope.track(loader, name="data"):
                    with phase("step"):
                        with phase("forward"):
                            loss = loss_of(inputs)
                        with phase("backward"):
                            loss.backward()
                        with phase("optimizer"):
                            optimizer.step()
                            optimizer.zero_grad()
                with phase("evaluate"), torch.no_grad():
                    loss_of(torch.rand(256, 64, 16))
            epoch += 1


@contextlib.contextmanager
def training(directory: str, seconds: float, name: str) -> Iterator[subprocess.Popen[str]]:
    """The training in a process of its own, under a command line that reads well in a picture."""
    script = Path(directory).parent / name
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT / 'scripts')!r})\nimport pictures\n")
    with script.open("a") as file:
        file.write(f"pictures.train({directory!r}, {seconds})\n")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    options: dict[str, Any] = {"cwd": script.parent, "env": {**os.environ, "PATH": path}}
    with subprocess.Popen(["python", name], stdout=subprocess.PIPE, text=True, **options) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", "the training did not begin"
        try:
            yield process
        finally:
            process.kill()


def picture_of_top(directory: str, seconds: float) -> str:
    """The terminal view after so many seconds, as SVG."""
    from phasescope.views.catalogue import Catalogue
    from phasescope.views.top.app import TopApp
    from phasescope.views.top.session_list import Watch

    async def look() -> str:
        app = TopApp(Watch(Catalogue([directory])))
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
        found = shutil.which("chromium") or shutil.which("google-chrome")
        running = playwright.chromium.launch(executable_path=found, args=_CHROMIUM)
        yield running
        running.close()


def pictures_of_web(directory: str) -> None:
    """The live page, light and dark."""
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
    """The page that is written of a session that is over."""
    page = Path(directory).parent / "run.html"
    subprocess.run([sys.executable, "-m", "phasescope", "report", "--dir", directory, "-o", str(page)], check=True)
    with browser() as running:
        _shoot(running, page.as_uri(), "light", PICTURES / "report.png")


def _shoot(running: Any, url: str, scheme: str, path: Path) -> None:
    context = running.new_context(viewport=PAGE, color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(_DRAWN)
    page.wait_for_timeout(_PAINTED_MS)
    page.screenshot(path=str(path))
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--seconds", type=float, default=40.0, help="how long the training runs before it is looked at")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        directory = str(Path(folder) / "sessions")
        with training(directory, 3.0, "warm_up.py") as first:
            first.wait()
        with training(directory, 600.0, "train.py") as running:
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
