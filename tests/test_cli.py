"""The command, against real sessions in real second processes: live, stopped, killed, silent, and hostile files."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from made_events import MadeSession
from phasescope import cli
from phasescope.cli import (
    _output,
    _session_args,
    demo,
    tail,
)
from phasescope.readers.ring_reader import RingReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE = Path(cli.__file__).parents[2]
needs_files = pytest.mark.skipif(
    not hasattr(os, "getuid"), reason="sessions lie in files only where they can be locked"
)

TRAINING = """
import sys
import phasescope
from phasescope import phase

with phasescope.start(directory=sys.argv[1], interval_ms=10, backends=["cpu"], rank=1, world_size=4) as session:
    with phase("epoch", n=3):
        for batch in phasescope.track([1, 2, 3]):
            with phase("forward"):
                pass
        with phase("validation"):
            print("ready", flush=True)
            for line in sys.stdin:  # told by the test what to do
                if line == "stop\\n":
                    break
                with phase(line.strip()):
                    pass
                print("done", flush=True)
"""


class Training:
    """A training in a process of its own, inside the phase epoch/validation, that does as it is told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._expect("ready")

    @property
    def pid(self) -> int:
        return self.process.pid

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _expect(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == line + "\n"

    def do(self, phase_name: str) -> None:
        """Run one phase; returns when it has ended."""
        self._tell(phase_name)
        self._expect("done")

    def stop(self) -> None:
        self._tell("stop")
        assert self.process.wait(20) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def close(self) -> None:
        self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "rings"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def training(directory: Path) -> Iterator[Training]:
    training = Training(directory)
    yield training
    training.close()


@pytest.fixture
def run(directory: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command on the test's directory; its exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        exit_code = cli.main([*arguments, "--dir", str(directory)])
        return exit_code, *capsys.readouterr()

    return run


def second_process(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "phasescope", *arguments], **(pipes | options))


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


# The command itself


@pytest.mark.neutral
def test_help_names_every_command_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"\n  {name} " in shown
    assert "exit codes: 0 ok" in shown


@pytest.mark.neutral
@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_from_its_docstring(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    docstring = importlib.import_module(f"phasescope.cli.{name}").__doc__
    assert docstring is not None
    assert " ".join(docstring.split()) in " ".join(shown.split())
    assert "--dir" in shown


@pytest.mark.neutral
@pytest.mark.parametrize("columns", ["1", "2", "10"])
def test_help_on_a_terminal_of_hardly_any_width(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert cli.main(["ls", "--help"]) == 0
    assert "usage" in capsys.readouterr().out


@pytest.mark.neutral
def test_a_closed_output_or_error_stream_is_no_traceback(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["ls", "--dir", str(directory)]) == cli.NOT_FOUND
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(["summary", "--dir", str(directory)]) == cli.NOT_FOUND


@pytest.mark.neutral
def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"phasescope {phasescope.__version__}\n"


@pytest.mark.neutral
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["lss"],
        ["--verison"],
        ["ls", "--colour"],
        ["tail", "-n", "-3"],
        ["tail", "--last", "99999999999999999999", "--no-follow"],
        ["tail", "--types", ","],
        ["demo", "--steps", "0"],
        ["web", "--port", "99999"],
        ["web", "--port", "-1"],
        ["web", "--port", "x"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert "usage: phasescope" in capsys.readouterr().err


@pytest.mark.neutral
def test_importing_the_command_loads_no_command_and_nothing_heavy() -> None:
    code = "import sys, phasescope.cli; print('\\n'.join(sys.modules))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    heavy = {
        "torch",
        "msgspec",
        "psutil",
        "pynvml",
        "dataclasses",
        "phasescope.capture.session",
        "phasescope.readers.reader",
    }
    assert not loaded & heavy
    assert {name for name in loaded if name.startswith("phasescope.")} == {"phasescope.cli", "phasescope._version"}


# Sessions


@needs_files
def test_ls_shows_a_live_session(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    exit_code, out, err = run("ls")
    title, line = out.splitlines()
    assert (exit_code, err) == (0, "")
    assert title.split() == ["pid", "session", "state", "age", "rank", "phase", "allocated", "reserved", "command"]
    pid, begin_of_id, state = line.split()[:3]
    assert (pid, state) == (str(training.pid), "running")
    assert run("summary", begin_of_id)[0] == 0
    assert " 1/4 " in line
    assert " epoch/validation " in line
    assert " MiB " in line
    assert sys.executable in line


@needs_files
def test_ls_says_why_it_did_not_look_into_a_directory(
    directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    (directory / "node-1-1.ring").touch()
    directory.chmod(0o755)
    exit_code, _, err = run("ls")
    assert exit_code == 1
    assert f"not looked into: {directory} is open to others (mode 0755)" in err


@needs_files
@pytest.mark.parametrize("command", ["explain", "summary"])
def test_without_a_target_a_file_that_is_no_ring_is_passed_over(
    command: str, training: Training, directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    (directory / f"node-1-{2**50}.ring").write_bytes(b"cut off")
    exit_code, out, err = run(command)
    assert (exit_code, err) == run(command, str(training.pid))[::2]
    assert f"pid {training.pid}" in out


@needs_files
def test_ls_as_json(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    exit_code, out, _ = run("ls", "--json")
    (session,) = json.loads(out)
    assert exit_code == 0
    assert (session["pid"], session["state"], session["silent_ns"]) == (training.pid, "running", None)
    assert (session["rank"], session["world_size"], session["phase"]) == (1, 4, ["epoch", "validation"])
    assert (session["device"], session["allocated_bytes"] > 1_000_000) == ("host", True)
    assert session["age_ns"] > 0
    assert session["events_written"] >= 15
    assert session["command"][1] == "-c"
    assert Path(session["path"]).parent == training.directory


@needs_files
def test_ls_tells_the_stopped_from_the_killed(
    training: Training, directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    other = Training(directory)
    other.close()
    training.stop()
    ring_files = {session["pid"]: session for session in json.loads(run("ls", "--json")[1])}
    assert (ring_files[training.pid]["state"], ring_files[training.pid]["phase"]) == ("stopped", None)
    assert (ring_files[other.pid]["state"], ring_files[other.pid]["phase"]) == ("dead", ["epoch", "validation"])


@needs_files
def test_a_session_that_is_not_heard_of_is_silent(
    training: Training, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_session_args, "_SILENT_NS", 0)
    os.kill(training.pid, signal.SIGSTOP)
    time.sleep(0.3)  # thirty of its sampling intervals
    (session,) = json.loads(run("ls", "--json")[1])
    assert session["state"] == "running"
    assert session["silent_ns"] > 100_000_000
    assert "  silent " in run("ls")[1]
    assert "running, but silent for " in run("summary")[1]


@needs_files
def test_a_session_without_a_beat_for_five_seconds_is_not_yet_silent(training: Training, directory: Path) -> None:
    with phasescope.attach(training.pid, directory=directory) as reader:
        beat_ns = reader.heartbeat_ns
        assert _session_args.health(reader, beat_ns + 4_900_000_000).silent_ns is None
        assert _session_args.state_text(_session_args.health(reader, beat_ns + 42_000_000_000)).startswith("silent 4")


@needs_files
def test_files_that_are_no_rings_are_named_and_harm_nothing(
    training: Training, directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    (directory / "foreign.ring").write_bytes(b"not a ring at all" * 100)
    (directory / "empty.ring").write_bytes(b"")
    (directory / "folder.ring").mkdir()
    (directory / "link.ring").symlink_to(directory / "nowhere")
    whole = next(path for path in directory.iterdir() if str(training.pid) in path.name)
    (directory / "cut.ring").write_bytes(whole.read_bytes()[:5000])
    exit_code, out, err = run("ls")
    assert (exit_code, err) == (0, "")
    lines = out.splitlines()
    for name in ("foreign", "empty", "folder", "link", "cut"):
        assert sum(f"{name}.ring: " in line for line in lines) == 1
    assert "foreign.ring: not a phasescope ring" in out
    assert str(training.pid) in lines[1]
    assert run("tail", str(directory / "cut.ring"))[0] == 1
    assert run("summary", str(directory / "foreign.ring"))[2].count("\n") == 1


@needs_files
@pytest.mark.parametrize("command", ["ls", "tail", "summary"])
def test_nothing_found_exits_with_1_and_says_where_it_looked(
    command: str, directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    exit_code, out, err = run(command)
    assert exit_code == 1
    assert str(directory) in out + err
    assert "Traceback" not in err


@needs_files
@pytest.mark.parametrize("name", ["99999999", "no-such-id", "/no/such.ring"])
def test_a_session_that_is_not_there_exits_with_1(
    name: str, training: Training, run: Callable[..., tuple[int, str, str]]
) -> None:
    for command in ("tail", "summary"):
        exit_code, out, err = run(command, name)
        assert (exit_code, out) == (1, "")
        assert err.startswith("phasescope: ")
        assert name in err
        assert err.count("\n") == 1


@needs_files
def test_summary_of_a_live_session(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    exit_code, out, err = run("summary", str(training.pid))
    assert (exit_code, err) == (0, "")
    lines = out.splitlines()
    assert lines[1].startswith("running for ")
    rows = {line.split()[0]: line.split() for line in lines if line.startswith(("epoch", "  "))}
    assert (rows["epoch"][1], rows["data"][1], rows["forward"][1]) == ("0", "3", "3")
    assert "still open: epoch for " in out
    assert "rank 1 of 4" in out
    assert any(line.startswith("host ") for line in lines)


@needs_files
def test_summary_of_a_killed_session_says_so(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    training.kill()
    _, out, _ = run("summary", str(training.pid))
    assert f"killed or crashed: process {training.pid} is gone without a stop; last event 2" in out
    assert "epoch/validation" in out


@needs_files
def test_summary_as_json(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    training.stop()
    with phasescope.attach(training.pid, directory=training.directory) as reader:
        session_id = reader.constants["session_id"]
    data = json.loads(run("summary", session_id[:13], "--json")[1])
    assert (data["state"], data["session_id"], data["events_dropped"]) == ("stopped", session_id, 0)
    assert [row["path"] for row in data["phases"]][:2] == [["epoch"], ["epoch", "data"]]
    data_row = data["phases"][1]
    assert (data_row["count"], data_row["exhausted"], data_row["open"]) == (3, 1, 0)
    assert data["backends"] == ["cpu"]


@needs_files
def test_tail_shows_the_last_events_and_how_the_session_ended(
    training: Training, run: Callable[..., tuple[int, str, str]]
) -> None:
    training.do("checkpoint")
    training.stop()
    exit_code, out, err = run("tail", str(training.pid), "--types", "phase_enter,phase_exit", "-n", "4")
    first, *lines, last = out.splitlines()
    assert (exit_code, err) == (0, "")
    assert first.startswith(f"-- pid {training.pid}: ")
    assert [line.split()[1:3] for line in lines] == [
        ["phase_enter", "epoch/validation/checkpoint"],
        ["phase_exit", "epoch/validation/checkpoint"],
        ["phase_exit", "epoch/validation"],
        ["phase_exit", "epoch"],
    ]
    assert last.startswith("-- the session has stopped; last event shown ")


@needs_files
def test_tail_as_json_is_one_valid_event_a_line(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    training.kill()
    exit_code, out, err = run("tail", str(training.pid), "--json", "--all")
    events = [json.loads(line) for line in out.splitlines()]
    assert exit_code == 0
    for event in events:
        phasescope.validate_event(event)
    assert events[0]["event_type"] == "start"
    first_phase = next(event for event in events if event["event_type"] == "phase_enter")
    assert first_phase["metadata"]["phase_scope"]["attributes"] == {"n": 3}
    with phasescope.attach(training.pid, directory=training.directory) as reader:
        assert events == reader.events()
    assert err.startswith(f"-- killed or crashed: process {training.pid} is gone without a stop")


@needs_files
def test_tail_without_follow_ends_while_the_session_runs(
    training: Training, run: Callable[..., tuple[int, str, str]]
) -> None:
    exit_code, out, _ = run("tail", "--no-follow", "--types", "phase_enter", "-n", "2")
    assert exit_code == 0
    assert [line.split()[2] for line in out.splitlines()[1:]] == ["epoch/data", "epoch/validation"]
    exit_code, out, _ = run("tail", "--no-follow", "--all", "--types", "phase_enter")
    assert out.splitlines()[1].endswith(" n=3")


@needs_files
def test_tail_names_a_type_that_no_event_has(training: Training, run: Callable[..., tuple[int, str, str]]) -> None:
    exit_code, _, err = run("tail", "--no-follow", "--types", "bogus,phase_enter")
    assert exit_code == 0
    assert err.startswith("phasescope: there is no event type bogus; known are start, ")
    assert err.count("\n") == 1


@needs_files
def test_tail_follows_a_live_session_line_by_line_until_it_is_killed(training: Training) -> None:
    follower = second_process("tail", str(training.pid), "--dir", str(training.directory), "--types", "phase_exit")
    assert follower.stdout is not None
    assert follower.stdout.readline().startswith(f"-- pid {training.pid}: ")
    for name in ("first", "second"):
        training.do(name)
        while f"epoch/validation/{name} " not in follower.stdout.readline():
            pass  # each is read while both processes live: nothing waits in a buffer
    assert follower.poll() is None
    training.kill()
    exit_code, out, err = outcome(follower)
    assert (exit_code, err) == (0, "")
    assert out.startswith("-- killed or crashed: ")


@needs_files
@pytest.mark.parametrize("last", [1, 5, 50])
def test_tail_shows_no_event_twice_and_leaves_none_out(last: int, directory: Path) -> None:
    """Events that are written while it turns from the last ones to the new ones are the delicate ones."""

    class Busy(RingReader):
        def events(self, last: int | None = None) -> list[dict[str, Any]]:
            for _ in range(10):
                with phasescope.phase("meanwhile"):
                    pass
            return super().events(last)

    with phasescope.start(directory=directory, interval_ms=3_600_000, backends=["cpu"]) as session:
        for _ in range(30):
            with phasescope.phase("before"):
                pass
        arguments = argparse.Namespace(no_follow=False, all=False, types=None, last=last)
        with Busy.open(str(session.path)) as reader:
            shown = tail._events(reader, arguments, tail._JsonPrinter())
            seen = [next(shown)]
            with phasescope.phase("after"):
                pass
            session.stop()
            seen += list(shown)
        everything = session.events()
    assert seen == everything[-len(seen) :]
    assert len(seen) >= last


@needs_files
def test_tail_says_what_it_missed(
    directory: Path, run: Callable[..., tuple[int, str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with phasescope.start(directory=directory, capacity_bytes=64 * 1024, backends=["cpu"]) as session:
        for _ in range(2000):
            with phasescope.phase("step"):
                pass
    for options in (["--no-follow"], []):
        _, out, err = run("tail", "--all", "--json", *options)
        missed = session.written - len(out.splitlines())
        assert missed > 1000
        assert f"-- {missed:,} events overwritten before they could be read --" in err
    assert f"{missed:,} older events overwritten" in run("summary")[1]
    assert "overwritten" not in run("tail", "-n", "5")[1]


@needs_files
@pytest.mark.parametrize("options", [["--json"], ["--all"]])
def test_a_closed_pipe_ends_the_command_silently(training: Training, options: list[str]) -> None:
    follower = second_process("tail", str(training.pid), "--dir", str(training.directory), *options)
    assert follower.stdout is not None
    follower.stdout.readline()
    follower.stdout.close()
    assert follower.wait(20) == 0  # the sampler goes on writing, so it notices
    assert follower.stderr is not None
    assert follower.stderr.read() == ""
    follower.stderr.close()


@needs_files
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [["ls"], ["summary"], ["explain", "--json"], ["doctor", "--json"]])
def test_an_output_that_takes_nothing_is_one_line_and_no_fault_of_the_session(
    training: Training, command: list[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = second_process(*command, "--dir", str(training.directory), stdout=full)
        code, _, err = outcome(done)
    assert code == cli.NOT_FOUND
    assert err == "phasescope: the output can not be written: No space left on device\n"


@needs_files
@pytest.mark.parametrize("closed", [1, 2])
def test_a_stream_that_is_closed_gets_nothing_and_the_other_only_its_own(directory: Path, closed: int) -> None:
    command = [sys.executable, "-m", "phasescope", "tail", "424242", "--dir", str(directory)]
    code = f"import os, sys; os.close({closed}); os.execv(sys.executable, {command!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == cli.NOT_FOUND
    assert done.stdout == ""
    assert ("424242" in done.stderr) == (closed == 1)


@needs_files
def test_ctrl_c_exits_with_130_and_no_traceback(training: Training) -> None:
    follower = second_process("tail", str(training.pid), "--dir", str(training.directory))
    assert follower.stdout is not None
    follower.stdout.readline()
    follower.send_signal(signal.SIGINT)
    exit_code, _, err = outcome(follower)
    assert (exit_code, err) == (130, "")


@needs_files
def test_clean_removes_what_is_over_and_nothing_else(
    training: Training, directory: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    other = Training(directory)
    other.close()
    (dead,) = (path for path in directory.iterdir() if f"-{other.pid}-" in path.name)
    assert json.loads(run("clean", "--dry-run", "--json")[1]) == {"removed": [str(dead)], "dry_run": True}
    assert "1 file would be removed" in run("clean", "--dry-run")[1]
    assert dead.exists()
    assert run("clean") == (0, f"{dead}\n1 file removed\n", "")
    assert not dead.exists()
    assert run("clean") == (0, "0 files removed\n", "")
    assert [session["pid"] for session in json.loads(run("ls", "--json")[1])] == [training.pid]


HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n\x9b31m\u202e"


@needs_files
def test_a_hostile_file_reaches_no_terminal(directory: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    """Whoever can write a ring file chooses its names, its command line and its texts."""
    from phasescope.wire import codec, ring_files

    constants = {
        "session_id": HOSTILE,
        "host": HOSTILE,
        "pid": 1,
        "sampling_interval_ms": 100,
        "command": [HOSTILE, {"a": 1}],
        "started_ns": "yesterday",
        "rank": 0,
        "world_size": 1,
    }
    made = ring_files.create(json.dumps(constants).encode(), 64 * 1024, str(directory), "hostile-1-1")
    device = codec.DeviceWire(backend=HOSTILE, device_id=0, used=7, free=None, total=None, unavailable=0)
    for event_type, time_ns in (("phase_enter", 5), ("phase_exit", 2**63), ("error", 10**18), (HOSTILE, 6)):
        event = codec.Wire(event_type, time_ns, device, 5, 6, None, None, 0)
        event.context = event.status = event.error_type = HOSTILE
        event.path, event.attributes, event.thread = [HOSTILE, "b"], {HOSTILE: HOSTILE}, (1, HOSTILE)
        event.sequence = event.scope = 1
        made.writer.append(codec.encode(event))
    made.writer.release()
    made.buffer.close()
    assert made.fd is not None
    os.close(made.fd)
    for command in ("ls", "tail", "summary"):
        for options in ([], ["--json"]):
            exit_code, out, err = run(command, *options)
            assert exit_code == 0, (command, err)
            assert all(line.isprintable() for line in (out + err).split("\n"))
            assert "owned" in out


@needs_files
@pytest.mark.parametrize("command", ["ls", "summary"])
def test_every_key_of_the_json_is_documented(
    command: str, training: Training, run: Callable[..., tuple[int, str, str]]
) -> None:
    documented = (SOURCE.parent / "docs" / "cli.md").read_text(encoding="utf-8")
    data = json.loads(run(command, "--json")[1])
    objects = data if isinstance(data, list) else [data, *data["phases"], *data["devices"]]
    missing = {key for found in objects for key in found if f"`{key}`" not in documented}
    assert not missing


# Other commands


def test_doctor_says_what_answers_and_why_the_rest_does_not(directory: Path) -> None:
    exit_code, out, err = outcome(second_process("doctor", "--json", "--dir", str(directory)))
    assert (exit_code, err) == (0, "")
    found = json.loads(out)
    sources = {source["name"]: source for source in found["sources"]}
    assert sources["cpu"]["works"]
    for source in found["sources"]:
        assert source["works"] or (source["reason"] and source["remedy"])
    (place,) = found["directories"]
    assert (place["path"], place["works"], place["free_bytes"] > 0) == (str(directory), True, True)


@needs_files
def test_doctor_exits_with_1_where_no_directory_works(
    directory: Path, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phasescope.capture.session.diagnose", list)  # the sources are not what is asked here
    directory.chmod(0o755)
    own = directory / f"phasescope-{os.getuid()}"
    own.mkdir()
    own.chmod(0o755)
    exit_code, out, _ = run("doctor")
    assert exit_code == 1
    assert "chmod 700" in out
    assert "no directory works" in out


@needs_files
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the demo trains a PyTorch model")
def test_demo_trains_is_watched_and_sums_up(directory: Path) -> None:
    exit_code, out, err = outcome(second_process("demo", "--steps", "60", "--dir", str(directory)))
    assert (exit_code, err) == (0, "")
    assert "meanwhile, in process " in out
    assert out.count("  │ ") >= 2
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.startswith(("epoch ", "  "))}
    assert {rows[name][1] for name in ("data", "forward", "backward", "optimizer")} == {"60"}
    assert "phasescope summary " in out


def test_demo_without_torch_names_the_pip_line() -> None:
    """In an interpreter that sees no installed packages."""
    command = [sys.executable, "-S", "-m", "phasescope", "demo"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr == 'phasescope: the demo needs PyTorch: pip install "phasescope[demo]"\n'


def test_the_demo_learns() -> None:
    pytest.importorskip("torch")
    training = demo._Training()
    assert list(training.run(30, None))[-1] == 1.0
    assert training.steps == 30
    assert training.last_loss < training.first_loss


# What is shown


class Screen:
    """A stream that says it is a terminal, or is none."""

    def __init__(self, encoding: str, on_terminal: bool) -> None:
        self.encoding = encoding
        self.text = ""
        self._on_terminal = on_terminal

    def isatty(self) -> bool:
        return self._on_terminal

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


@pytest.mark.neutral
@pytest.mark.parametrize(
    ("on_terminal", "environment", "coloured"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colour_only_on_a_terminal_that_wants_it(
    on_terminal: bool, environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("WT_SESSION", "1")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    screen: Any = Screen("utf-8", on_terminal)
    _output.Terminal(screen).line("title", "bold")
    assert screen.text == ("\x1b[1mtitle\x1b[0m\n" if coloured else "title\n")


@pytest.mark.neutral
def test_signs_that_an_encoding_lacks_have_a_plain_form() -> None:
    screen: Any = Screen("ascii", False)
    _output.Terminal(screen).line("≥1.00 µs – a…b ×2")
    assert screen.text == ">=1.00 us - a~b x2\n"
    screen = Screen("ascii", False)
    _output.Terminal(screen).line("±5 ms ▲ worse ▼ better")
    assert screen.text == "+/-5 ms ^ worse v better\n"


@pytest.mark.neutral
def test_a_line_is_as_wide_as_the_terminal_and_in_a_pipe_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "73")
    screen: Any = Screen("utf-8", True)
    pipe: Any = Screen("utf-8", False)
    assert _output.Terminal(screen).width == 73
    assert _output.Terminal(pipe).width is None


@needs_files
def test_an_ascii_locale_breaks_nothing(training: Training) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    arguments = ("summary", str(training.pid), "--dir", str(training.directory))
    exit_code, out, err = outcome(second_process(*arguments, env=environment))
    assert (exit_code, err) == (0, "")
    assert out.isascii()
    assert ">=" in out


@pytest.mark.neutral
def test_json_is_valid_whatever_is_in_it() -> None:
    shown = _output.json_text({"a": [float("nan"), float("inf"), 1.5], "b": HOSTILE})
    assert shown.isascii()
    assert shown.isprintable()
    assert json.loads(shown) == {"a": [None, None, 1.5], "b": HOSTILE}


@pytest.mark.neutral
def test_an_event_on_one_line() -> None:
    session = MadeSession()
    session.allocated = 3 * 2**20
    entered = session.enter("epoch", "forward")
    entered.boundary("phase_enter", attributes={"n": 3, "note\n": "x"})
    session.allocated += 2**20
    entered.exit(status="error", error_type="OutOfMemoryError", duration_ns=1_234_567)
    session.sample(entered, context="a\x1bb", allocator_change_bytes=-512)
    lines = [tail.event_line(event, 16)[13:] for event in session.events[1:]]
    assert lines == [
        r"phase_enter epoch/forward              3.00 MiB            n=3 note\n=x",
        "phase_exit  epoch/forward     1.23 ms  4.00 MiB  +1.00 MiB error: OutOfMemoryError",
        r"sample      epoch/forward              4.00 MiB     -512 B cuda:0 a\x1bb",
    ]


@pytest.mark.neutral
def test_an_event_of_no_known_memory_shows_a_dash() -> None:
    session = MadeSession()
    unknown = {"unavailable": ["allocator_allocated_bytes", "allocator_change_bytes"]}
    line = tail.event_line(session.event("sample", metadata=unknown), 16)
    assert line.split()[1:] == ["sample", "–", "cuda:0"]
