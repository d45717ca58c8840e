"""The GitHub Action: real recordings, compared by the script that it calls, posted to a server in GitHub's place."""

from __future__ import annotations

import http.server
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "compare_action.py"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))

RUN = """
import sys
import phasescope
from phasescope import phase

kept = []
with phasescope.start(record=sys.argv[1], backends=["cpu"], directory=sys.argv[2]):
    for _ in range(20):
        with phase("step"), phase("forward"):
            for _ in range(int(sys.argv[3])):
                kept.append(bytes(range(256)) * 4096)
        kept.clear()
    with phase("```\\n# x"), phase("x"):
        pass
    with phase("::error::x"):
        pass
"""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two runs, of which the second needs 80 MB more in its steps."""
    folder = tmp_path_factory.mktemp("runs")
    made = {"main": folder / "main.jsonl", "branch": folder / "branch.jsonl"}
    for name, steps in (("main", "1"), ("branch", "80")):
        rings = folder / f"rings-{name}"
        rings.mkdir(mode=0o700)
        subprocess.run([sys.executable, "-c", RUN, str(made[name]), str(rings), steps], check=True, timeout=CEILING_S)
    return made


class GitHub:
    """Answers as GitHub's interface for comments; `refuses` is that of a token that may only read."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = [{"id": 1, "body": "of a person"}]
        self.tokens: set[str] = set()
        self.refuses = False
        here = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.path.startswith("/repos/me/mine/issues/7/comments?per_page=100")
                self._answer(200, here.comments)

            def do_POST(self) -> None:
                assert self.path == "/repos/me/mine/issues/7/comments"
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))["body"]
                if not here.refuses:
                    here.comments.append({"id": len(here.comments) + 1, "body": body})
                self._answer(403 if here.refuses else 201, {})

            def do_PATCH(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))["body"]
                number = int(self.path.removeprefix("/repos/me/mine/issues/comments/"))
                next(each for each in here.comments if each["id"] == number)["body"] = body
                self._answer(200, {})

            def _answer(self, status: int, value: Any) -> None:
                here.tokens.add(self.headers["authorization"])
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def github() -> Iterator[GitHub]:
    made = GitHub()
    yield made
    made.close()


def run(folder: Path, recordings: dict[str, Path], url: str, rules: str, **more: str) -> tuple[int, str, str]:
    """Run the script as the action does; its exit code, output and the job's summary."""
    event = folder / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7}}))
    environment = {
        "COMPARE_BEFORE": str(recordings["main"]),
        "COMPARE_AFTER": str(recordings["branch"]),
        "COMPARE_FAIL_ON": rules,
        "COMPARE_TOKEN": "s3cret",
        "GITHUB_API_URL": url,
        "GITHUB_REPOSITORY": "me/mine",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "GITHUB_OUTPUT": str(folder / "output"),
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=CEILING_S,
        env={**os.environ, **environment, **more},
    )
    assert done.stderr == ""
    return done.returncode, done.stdout, (folder / "summary.md").read_text("utf-8")


def test_a_broken_rule_fails_the_job_and_its_table_is_posted_once(
    tmp_path: Path, recordings: dict[str, Path], github: GitHub
) -> None:
    code, out, summary = run(tmp_path, recordings, github.url, "peak_allocated@forward>20 MB\n\n  time>900%\n")
    assert code == 4
    assert "FAILED peak_allocated@forward>20 MB" in out
    assert "a rule is broken" in summary
    assert (tmp_path / "output").read_text() == "exit-code=4\n"
    run(tmp_path, recordings, github.url, "")
    person, comment = github.comments  # the second run wrote over the first one's
    assert person["body"] == "of a person"
    assert "within the budget" in comment["body"]
    assert github.tokens == {"Bearer s3cret"}
    assert "s3cret" not in out + summary + comment["body"]


def test_no_name_breaks_out_of_the_table(tmp_path: Path, recordings: dict[str, Path], github: GitHub) -> None:
    run(tmp_path, recordings, github.url, "", COMPARE_ALL="true", COMPARE_TITLE="x --> <b>y</b>\n# z")
    body = github.comments[1]["body"]
    lines = body.splitlines()
    fence = lines[3].removesuffix("text")
    assert set(fence) == {"`"}
    assert [number for number, line in enumerate(lines) if fence in line] == [3, len(lines) - 1]
    assert lines[0].index("-->") == len(lines[0]) - 3
    assert "<b>" not in body


def test_no_name_commands_the_runner(tmp_path: Path, recordings: dict[str, Path], github: GitHub) -> None:
    _, out, _ = run(tmp_path, recordings, github.url, "", COMPARE_ALL="true", GITHUB_ACTIONS="true")
    lines = [line for line in out.splitlines() if line.lstrip().startswith("::")]
    assert re.fullmatch(r"::stop-commands::[0-9a-f]{32}", lines[0])
    assert lines[-1] == f"::{lines[0].rpartition(':')[2]}::"
    assert any(line.startswith("::error::x") for line in lines[1:-1])  # the runner takes it for text there


def test_a_token_that_may_only_read_is_said_and_the_verdict_stands(
    tmp_path: Path, recordings: dict[str, Path], github: GitHub
) -> None:
    github.refuses = True
    code, out, _ = run(tmp_path, recordings, github.url, "")
    assert code == 0
    assert "::notice::the table was not posted (403)" in out


def test_without_a_pull_request_or_a_server_the_summary_is_there(tmp_path: Path, recordings: dict[str, Path]) -> None:
    code, _, summary = run(tmp_path, recordings, "http://127.0.0.1:1", "", GITHUB_EVENT_PATH="/nowhere")
    assert (code, "within the budget" in summary) == (0, True)


def test_the_action_hands_every_input_over_as_a_variable() -> None:
    steps = ACTION["runs"]["steps"]
    used = set(re.findall(r"\$\{\{ inputs\.([a-z-]+) \}\}", json.dumps(ACTION["runs"])))
    assert used == set(ACTION["inputs"])
    for step in steps:
        assert "${{" not in step["run"]
    read = set(re.findall(r"COMPARE_[A-Z_]+", SCRIPT.read_text("utf-8")))
    assert read == {name for step in steps for name in step["env"] if name.startswith("COMPARE_")}
    assert (ROOT / steps[-1]["run"].split("$ACTION_PATH/")[1].rstrip('"')).is_file()


def test_the_example_of_the_docs_names_inputs_that_there_are() -> None:
    text = (ROOT / "docs" / "guides" / "budget.md").read_text("utf-8")
    (example,) = [
        yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "jobs:" in block
    ]
    (job,) = example["jobs"].values()
    (step,) = [step for step in job["steps"] if "phasescope@" in step.get("uses", "")]
    assert set(step["with"]) <= set(ACTION["inputs"])
    assert example["permissions"]["pull-requests"] == "write"


def test_the_rules_of_the_guide_judge_two_real_runs(tmp_path: Path, recordings: dict[str, Path]) -> None:
    text = (ROOT / "docs" / "guides" / "budget.md").read_text("utf-8")
    (command,) = re.findall(r"^    phasescope (compare .*)$", text, re.MULTILINE)
    for before, after, expected in (("main", "branch", 4), ("main", "main", 0)):
        (tmp_path / "main.jsonl").write_bytes(recordings[before].read_bytes())
        (tmp_path / "branch.jsonl").write_bytes(recordings[after].read_bytes())
        done = subprocess.run(
            [sys.executable, "-m", "phasescope", *shlex.split(command)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=CEILING_S,
        )
        assert done.returncode == expected, done.stdout + done.stderr
