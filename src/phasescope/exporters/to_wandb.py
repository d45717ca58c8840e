"""Points in Weights & Biases: in the run that the training has begun, or in one of the session's own."""

from __future__ import annotations

import html
import inspect
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wandb

from phasescope.exporters.tracker_log import QUEUE_LIMIT, about, title_of
from phasescope.exporters.tracker_points import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.exporters.tracker_points import TrackerPoint

DEFAULT_PROJECT = "phasescope"
STEP = f"{PREFIX}/step"

_WITHOUT_SERVER = ("offline", "disabled", "dryrun")


class NotLoggedInError(Exception):
    """There is no key for the server, and nobody here who could be asked for one."""


class WeightsAndBiases:
    """A project: `where`, else `$WANDB_PROJECT`."""

    def __init__(self, where: str, *, inside: bool = False) -> None:
        self._active = wandb.run if inside else None
        self._project = where or os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT
        mode = os.environ.get("WANDB_MODE", "online")
        if self._active is None and mode not in _WITHOUT_SERVER and not _is_logged_in():
            raise NotLoggedInError("no key for Weights & Biases: `wandb login`, or WANDB_MODE=offline")
        if not inside:
            wandb.setup(wandb.Settings(silent=True))  # it prints where it logs in, a password in the address too
        self.shown = f"logging to Weights & Biases, project {self._project}"

    def begin(self, constants: Mapping[str, Any]) -> WandbRun:
        """Begin the session's run."""
        if self._active is not None:
            return WandbRun(self._active, str(constants.get("session_id")), is_own=False)
        job_id = constants.get("job_id")
        run = wandb.init(
            project=self._project,
            name=title_of(constants),
            group=None if job_id is None else str(job_id)[:120],
            config=about(constants),
            reinit="create_new",
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True
            ),
        )
        return WandbRun(run, str(constants.get("session_id")), is_own=True)


def _is_logged_in() -> bool:
    """Return whether wandb will find a key, without its being asked for one.

    Its own `login(prompt=False)` prints a line, and logs the whole process in. It is the last resort.
    """
    if "prompt" not in inspect.signature(wandb.login).parameters:
        return wandb.api.api_key is not None  # before 0.31; deprecated since, and prints so
    if any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")):
        return True
    try:
        from wandb.sdk.lib import wbauth

        settings = wandb.setup().settings
        host = settings.base_url
        return any((wbauth.session_credentials(host=host), wbauth.read_netrc_auth(host=host), settings.api_key))
    except Exception:
        return bool(wandb.login(prompt=False))


class WandbRun:
    """One run. In the training's own, values join its next line, so that its count of steps stays what it was."""

    def __init__(self, run: Any, session_id: str, *, is_own: bool) -> None:
        self._run = run
        self._session_id = session_id
        self._is_own = is_own
        self.at_once = QUEUE_LIMIT if is_own else 1  # a second one would take the first one's place in the line
        run.define_metric(f"{PREFIX}/*", step_metric=STEP)

    def log(self, points: list[TrackerPoint]) -> None:
        """Log the points."""
        for point in points:
            self._run.log({STEP: point.step, **point.values}, commit=self._is_own)

    def finish(self, summary: str, report: str) -> None:
        """Log the table, and both as an artifact."""
        table = wandb.Html(f"<pre>{html.escape(summary)}</pre>", inject=False)
        self._run.log({f"{PREFIX}/summary": table}, commit=self._is_own)
        artifact = wandb.Artifact(f"phasescope-{self._session_id[:12]}", "phasescope-report")
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (("summary.txt", summary), ("report.html", report)):
                if text:
                    path = Path(folder) / name
                    path.write_text(text, encoding="utf-8")
                    artifact.add_file(str(path), name)
            self._run.log_artifact(artifact)
            if self._is_own:
                self._run.finish()
