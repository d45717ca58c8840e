"""The command itself: its help, its usage, its exit codes, and what it does where its output cannot be written."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import cli
from phasescope.cli import _session_args
from phasescope.cli._examples import EXAMPLES
from phasescope.cli._exit_codes import EXIT_CODES, exit_codes_page
from support.commands import SOURCE, Training, needs_files, outcome, second_process
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.neutral
def test_help_names_every_command_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"\n  {name} " in shown
    assert "exit codes: phasescope help exit-codes" in shown


@pytest.mark.neutral
@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_from_its_docstring(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    docstring = importlib.import_module(f"phasescope.cli.{name}").__doc__
    assert docstring is not None
    assert " ".join(docstring.split()) in " ".join(shown.split())
    assert ("--dir" in shown) is (name != "help")


@pytest.mark.neutral
@pytest.mark.parametrize("columns", ["80", "200"])
@pytest.mark.parametrize("name", [None, *cli.COMMANDS])
def test_no_line_of_a_help_is_longer_than_80_columns(
    name: str | None, columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert cli.main(["--help"] if name is None else [name, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)


@pytest.mark.neutral
@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_help_has_two_examples_that_the_command_understands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    module = importlib.import_module(f"phasescope.cli.{name}")
    assert len(EXAMPLES[name]) == 2
    for line, what in EXAMPLES[name]:
        assert f"\n  {line}" in shown
        assert what in shown
        program, command, *arguments = shlex.split(line.partition(" > ")[0])
        assert (program, command) == ("phasescope", name)
        parser = argparse.ArgumentParser(exit_on_error=False)
        module.add_arguments(parser)
        own = module.split(arguments)[0] if hasattr(module, "split") else arguments
        parser.parse_args(own)


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
        "phasescope.capture.running",
        "phasescope.capture.session",
        "phasescope.readers.reader",
    }
    assert not loaded & heavy
    assert {name for name in loaded if name.startswith("phasescope.")} == {
        "phasescope.cli",
        "phasescope.cli._exit_codes",
        "phasescope._version",
    }


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
@pytest.mark.parametrize("options", [["--json"], ["--all"]])
def test_a_closed_pipe_ends_the_command_silently(training: Training, options: list[str]) -> None:
    follower = second_process("tail", str(training.pid), "--dir", str(training.directory), *options)
    assert follower.stdout is not None
    follower.stdout.readline()
    follower.stdout.close()
    assert follower.wait(CEILING_S) == 0  # the sampler goes on writing, so it notices
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
    assert err == "phasescope: the output cannot be written: No space left on device\n"


@needs_files
@pytest.mark.parametrize("closed", [1, 2])
def test_a_stream_that_is_closed_gets_nothing_and_the_other_only_its_own(directory: Path, closed: int) -> None:
    command = [sys.executable, "-m", "phasescope", "tail", "424242", "--dir", str(directory)]
    code = f"import os, sys; os.close({closed}); os.execv(sys.executable, {command!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=CEILING_S)
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


HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n\x9b31m\u202e"


@needs_files
def test_a_hostile_file_reaches_no_terminal(directory: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    """Whoever can write a ring file chooses its names, its command line and its texts."""
    import msgspec

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
        made.writer.append(msgspec.msgpack.encode(event))
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


@needs_files
def test_an_ascii_locale_breaks_nothing(training: Training) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    arguments = ("summary", str(training.pid), "--dir", str(training.directory))
    exit_code, out, err = outcome(second_process(*arguments, env=environment))
    assert (exit_code, err) == (0, "")
    assert out.isascii()
    assert ">=" in out


@pytest.mark.neutral
def test_the_exit_codes_are_told_once_in_the_help_and_the_docs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert cli.main(["help", "exit-codes"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 60
    told = " ".join(shown.split())
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning.replace('`', '')}" in told
    page = (SOURCE.parent / "docs" / "cli.md").read_text(encoding="utf-8")
    assert exit_codes_page() in page, "python scripts/exit_codes.py writes it"


@pytest.mark.neutral
def test_help_shows_what_a_command_shows(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, same in ((["help"], ["--help"]), (["help", "ls"], ["ls", "--help"])):
        assert cli.main(arguments) == cli.main(same) == 0
        shown = capsys.readouterr().out
        assert shown[: len(shown) // 2] == shown[len(shown) // 2 :]
    assert cli.main(["help", "nothing"]) == 2
    assert "name a command, or exit-codes" in capsys.readouterr().err


@pytest.mark.neutral
def test_explain_names_the_session_that_it_takes_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name, default in (("explain", "the one started last, live or dead"), ("summary", _session_args.LIVE_FIRST)):
        assert cli.main([name, "--help"]) == 0
        assert f"default: {default}" in " ".join(capsys.readouterr().out.split())
