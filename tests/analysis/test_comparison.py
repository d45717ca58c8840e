"""compare: what changed between two runs by more than chance, and rules for continuous integration."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.analysis.comparison.comparison import Comparison, compare
from phasescope.analysis.comparison.fail_rules import broken, rule
from phasescope.analysis.summary.summary import summarize
from phasescope.cli import main
from support.events import MIB, MadeSession
from support.times import STEADINESS, summary_of
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from pathlib import Path


def training(
    *, ms: float = 10, mib: int = 300, steps: int = 60, seed: int = 0, scatter: float = 0.1, **extra: Any
) -> Any:
    """The summary of a training as data: "step" with "forward", whose time scatters."""
    session, rng = MadeSession(**extra), random.Random(seed)
    for _ in range(steps):
        entered = session.enter("step")
        forward = session.enter("step", "forward", parent=entered)
        session.allocated += mib * MIB
        session.now_ns += int(ms * 1e6 * rng.lognormvariate(0, scatter))
        forward.exit()
        session.allocated -= mib * MIB
        entered.exit()
    return summarize(session.events).to_dict()


def verdicts(comparison: Comparison, *path: str) -> dict[str, str]:
    return {metric: change.verdict for metric, change in comparison.of(path).items()}


def test_the_same_twice_is_the_same() -> None:
    found = compare(training(), training())
    assert {change.verdict for change in found.changes} == {"same"}


@pytest.mark.parametrize("seed", range(20))
def test_two_runs_that_differ_by_chance_are_the_same(seed: int) -> None:
    found = compare(training(seed=2 * seed, scatter=0.3), training(seed=2 * seed + 1, scatter=0.3))
    assert verdicts(found, "step", "forward")["time"] == "same"


@pytest.mark.parametrize("kind", STEADINESS)
@pytest.mark.parametrize("metric", ["time", "mean_time", "p95_time"])
def test_no_figure_of_the_same_program_is_called_worse(kind: str, metric: str) -> None:
    found = [compare(*pair(kind, 128, seed)).of(("step",))[metric].verdict for seed in range(40)]
    assert found.count("worse") <= 2


@pytest.mark.parametrize("kind", STEADINESS)
def test_a_rule_for_the_95th_percentile_holds_for_outliers(kind: str) -> None:
    rules = [rule("p95_time>20%"), rule("mean_time>20%")]
    failed = [bool(list(broken(compare(*pair(kind, 128, seed)), rules))) for seed in range(40)]
    assert sum(failed) <= 2


@pytest.mark.parametrize(
    ("kind", "slower", "entries", "metric"),
    [
        *((kind, 2.4, 400, "time") for kind in STEADINESS),
        ("independent", 2.4, 60, "p95_time"),
        ("independent", 2.4, 20, "mean_time"),
        ("independent", 1.2, 400, "time"),
        ("with outliers", 1.2, 400, "time"),
        ("like their neighbours, with outliers", 1.2, 400, "time"),
        ("like their neighbours, with outliers", 1.2, 2000, "p95_time"),
        ("independent", 1.2, 400, "mean_time"),
        ("with outliers", 2.4, 2000, "mean_time"),
    ],
)
def test_what_takes_longer_is_called_worse(kind: str, slower: float, entries: int, metric: str) -> None:
    found = [compare(*pair(kind, entries, seed, slower)).of(("step",))[metric].verdict for seed in range(10)]
    assert found.count("worse") >= 8


def pair(kind: str, entries: int, seed: int, slower: float = 1.0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Summaries of two runs, of which the second takes `slower` times as long."""
    before, after = (STEADINESS[kind](random.Random(2 * seed + side), entries) for side in (0, 1))
    return summary_of(before), summary_of([int(slower * taken) for taken in after])


def test_each_figure_has_a_noise_of_its_own() -> None:
    step = compare(*pair("with outliers", 400, 0)).of(("step",))
    noises = [step[metric].noise or 0 for metric in ("time", "mean_time", "p95_time")]
    assert noises == sorted(noises)
    assert noises[2] > 5 * noises[0] > 0


def test_entries_like_their_neighbours_tell_less() -> None:
    alike, apart = ([10_000 + 5_000 * ((number // held) % 2) + number for number in range(400)] for held in (100, 1))
    close, wide = (compare(summary_of(taken), summary_of(taken)).of(("step",)) for taken in (apart, alike))
    for metric in ("time", "mean_time"):
        assert (wide[metric].noise or 0) > 2 * (close[metric].noise or 0)


def test_the_devices_time_is_taken_to_scatter_as_the_phases_does() -> None:
    a, b = pair("with outliers", 400, 0)
    for summary in (a, b):
        row = summary["phases"][0]
        row["device_time_ns"] = 100 * row["mean_ns"]  # the sum of 400 entries, each a quarter of the phase's time
        row["device_timed"] = 400
    step = compare(a, b).of(("step",))
    assert step["device_time"].noise == pytest.approx((step["mean_time"].noise or 0) / 4, rel=0.01)


def test_a_device_whose_times_ended_midway_is_not_called_faster() -> None:
    a, b = pair("with outliers", 400, 0)
    for summary, timed in ((a, 400), (b, 100)):
        row = summary["phases"][0]
        row["device_time_ns"], row["device_timed"] = 3_000_000 * timed, timed
    change = compare(a, b).of(("step",))["device_time"]
    assert (change.before, change.after, change.verdict) == (3_000_000, 3_000_000, "same")


def test_one_entry_proves_only_a_large_change() -> None:
    for slower, verdict in ((1.3, "same"), (2.4, "worse")):
        found = compare(summary_of([10**9]), summary_of([int(slower * 10**9)])).of(("step",))
        assert {found[metric].verdict for metric in ("time", "mean_time", "p95_time")} == {verdict}


def test_a_summary_that_does_not_say_how_its_times_scatter_is_not_judged_by_them() -> None:
    a, b = training(), training(ms=24)
    for row in a["phases"]:
        del row["p95_high_ns"]
    assert verdicts(compare(a, b), "step")["p95_time"] == "unknown"


def test_beyond_what_is_kept_exactly_the_noise_goes_on_to_shrink() -> None:
    noises = []
    for entries in (9_000, 36_000):
        found = compare(*pair("independent", entries, 1)).of(("step",))
        row = summary_of(STEADINESS["independent"](random.Random(1), entries))["phases"][0]
        assert {found[metric].verdict for metric in ("time", "mean_time", "p95_time")} == {"same"}
        noises.append([row[f"{name}_high_ns"] - row[f"{name}_low_ns"] for name in ("mean", "p50", "p95")])
    for few, many in zip(*noises, strict=True):
        assert many < 0.7 * few + 0.02 * 10_000_000  # a bucket is 2 % wide


def test_a_regression_of_140_percent_is_one() -> None:
    found = compare(training(), training(ms=24, mib=720))
    forward = found.of(("step", "forward"))
    assert forward["time"].verdict == "worse"
    assert forward["time"].ratio == pytest.approx(2.4, rel=0.02)
    assert forward["peak_allocated"].verdict == "worse"
    assert forward["peak_allocated"].ratio == pytest.approx(2.4)
    assert forward["peak_allocated"].difference == 420 * MIB


def test_less_is_better() -> None:
    found = compare(training(), training(ms=5, mib=100))
    assert verdicts(found, "step", "forward")["time"] == "better"
    assert verdicts(found, "step", "forward")["peak_allocated"] == "better"


def test_few_noisy_steps_prove_less_than_many() -> None:
    few = compare(training(steps=4, scatter=0.5), training(steps=4, scatter=0.5, ms=13, seed=1))
    many = compare(training(steps=900, scatter=0.5), training(steps=900, scatter=0.5, ms=13, seed=1))
    few_noise, many_noise = (found.of(("step", "forward"))["time"].noise for found in (few, many))
    assert few_noise is not None
    assert many_noise is not None
    assert few_noise > 3 * many_noise
    assert verdicts(many, "step", "forward")["time"] == "worse"


def test_the_resident_set_of_the_host_may_move_more() -> None:
    host: dict[str, Any] = {"backend": "cpu", "device_id": -1}
    assert verdicts(compare(training(mib=100, **host), training(mib=104, **host)), "step")["peak_allocated"] == "same"
    assert verdicts(compare(training(mib=100), training(mib=104)), "step")["peak_allocated"] == "worse"


def test_phases_of_one_side_only_are_named_and_judged_by_nobody() -> None:
    a, b = training(), training()
    b["phases"][1]["path"] = ["step", "encode"]
    found = compare(a, b)
    assert set(verdicts(found, "step", "forward").values()) == {"gone"}
    assert set(verdicts(found, "step", "encode").values()) == {"new"}
    assert [path for path, before, after in found.counts if before is None] == [("step", "encode")]


def test_what_is_not_known_is_unknown() -> None:
    a, b = training(), training()
    b["phases"][0]["peak_allocated_bytes"] = None
    assert verdicts(compare(a, b), "step")["peak_allocated"] == "unknown"


@pytest.mark.parametrize("wrong", [{}, {"phases": 3}, {"phases": [{}]}, {"phases": [{"path": "step"}]}])
def test_what_is_no_summary_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the second is not a summary"):
        compare(training(), wrong)


@pytest.mark.parametrize(
    ("text", "breaks"),
    [
        ("peak_allocated>5%", True),
        ("peak_allocated>300 MB", True),
        ("peak_allocated>500MiB", False),
        ("peak_allocated@forward>5%", True),
        ("peak_allocated@step/forward > 5 %", True),
        ("peak_allocated@ward>5%", False),
        ("peak_allocated@step>200%", False),
        ("time>100%", True),
        ("time@forward>10 ms", True),
        ("time@forward>1 s", False),
        ("allocated_delta@step/forward>1%", True),
        ("allocated_delta@step>0%", False),
    ],
)
def test_rules(text: str, breaks: bool) -> None:
    found = compare(training(), training(ms=24, mib=720))
    assert bool(list(broken(found, [rule(text)]))) is breaks


def test_a_rule_is_not_broken_by_noise() -> None:
    found = compare(training(ms=10, scatter=0.5, steps=5), training(ms=10.5, scatter=0.5, steps=5, seed=3))
    assert list(broken(found, [rule("time>0%")])) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("peak_allocated", "is not a rule; a rule looks like"),
        ("peak>5%", "there is no metric 'peak'; known are time, mean_time"),
        ("peak_allocated>5", "peak_allocated is measured in B, kB, .* or %, not in nothing"),
        ("time>5 MB", "time is measured in ns, us, .* or %, not in MB"),
    ],
)
def test_a_wrong_rule_says_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rule(text)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two saved summaries: before and after a regression of 140 %."""
    paths = []
    for name, summary in (("before", training()), ("after", training(ms=24, mib=720))):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(summary))
        paths.append(str(path))
    return paths


def test_the_command_shows_what_changed(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *files]) == 0
    out = capsys.readouterr().out
    assert "step/forward" in out
    assert "+140%" in out
    assert "300 MiB" in out


@pytest.mark.skipif(os.name == "nt", reason="needs pipes that break")
def test_a_reader_that_goes_away_does_not_change_the_verdict(files: list[str]) -> None:
    command = [sys.executable, "-m", "phasescope", "compare", *files, "--fail-on", "peak_allocated>5%"]
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, check=False, timeout=CEILING_S)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (4, b"")


def test_the_command_fails_on_a_broken_rule(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *files, "--fail-on", "peak_allocated>5%"]) == 4
    assert "FAILED peak_allocated>5%: step +140%" in capsys.readouterr().out
    assert main(["compare", *files, "--fail-on", "peak_allocated>200%"]) == 0


def test_the_commands_data(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *files, "--json", "--fail-on", "time@forward>5%"]) == 4
    data = json.loads(capsys.readouterr().out)
    assert data["schema_version"] == 1
    assert [phase["path"] for phase in data["phases"]] == [["step"], ["step", "forward"]]
    peak = next(change for change in data["phases"][0]["changes"] if change["metric"] == "peak_allocated")
    assert (peak["before"], peak["after"], peak["verdict"]) == (300 * MIB, 720 * MIB, "worse")
    assert [violation["rule"] for violation in data["violations"]] == ["time@forward>5%"]


def _renamed(summary: Any) -> None:
    summary["phases"][1]["path"] = ["step", "encode"]


def _without_phases(summary: Any) -> None:
    summary["phases"] = []


@pytest.mark.parametrize(
    ("text", "change", "said"),
    [
        ("time@nosuch>5%", None, "no phase `nosuch` in A or B"),
        ("time@forward>5%", _renamed, "the phase `forward` is in A only"),
        ("time>5%", _without_phases, "only A has phases"),
        ("device_time>5%", None, "device_time of any phase is not known for both A and B"),
        ("device_time@step>5%", None, "device_time of step is not known for both A and B"),
    ],
)
def test_a_rule_that_nothing_can_be_held_against_fails(
    files: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, change: Any, said: str
) -> None:
    summary = training()
    if change is not None:
        change(summary)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(summary))
    code = 5 if change is _without_phases else 4  # nothing could be compared at all, whatever the rules
    assert main(["compare", files[0], str(other), "--fail-on", text]) == code
    assert f"FAILED {text}: cannot be checked: {said}\n" in capsys.readouterr().out
    assert main(["compare", files[0], str(other), "--json", "--fail-on", text]) == code
    (violation,) = json.loads(capsys.readouterr().out)["violations"]
    assert (violation["rule"], violation["path"], violation["reason"]) == (text, None, said)


def test_a_rule_is_judged_by_the_phases_that_both_sides_have(files: list[str], tmp_path: Path) -> None:
    summary = training()
    _renamed(summary)
    (tmp_path / "other.json").write_text(json.dumps(summary))
    assert main(["compare", files[0], str(tmp_path / "other.json"), "--fail-on", "time>5%"]) == 0


def test_nothing_changed_is_said(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", files[0], files[0]]) == 0
    assert capsys.readouterr().out == "no difference beyond the noise\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.json", "[]", "holds no summary, but a list"),
        ("x.json", "{", "holds no summary"),
        ("x.json", "{}", "is not a summary: it has no list"),
        ("x.html", "<html>", "it is not a page made by phasescope"),
    ],
)
def test_a_file_that_is_none_is_named(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    assert main(["compare", files[0], str(tmp_path / name)]) == 1
    assert said in capsys.readouterr().err


def _all_renamed(summary: Any) -> None:
    for row in summary["phases"]:
        row["path"] = ["train", *row["path"]]


def _without_figures(summary: Any) -> None:
    for row in summary["phases"]:
        row.update(dict.fromkeys([key for key in row if key.endswith(("_ns", "_bytes"))]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_all_renamed, "the two have no phase in common"),
        (_without_phases, "B has no phases"),
        (_without_figures, "no figure of the phases that both have is known on both sides"),
    ],
)
def test_two_that_have_nothing_in_common_are_not_called_the_same(
    files: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, change: Any, said: str
) -> None:
    summary = training()
    change(summary)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(summary))
    assert main(["compare", files[0], str(other)]) == 5
    out = capsys.readouterr().out
    assert f"nothing could be compared: {said}\n" in out
    assert "no difference" not in out
    if change is _all_renamed:
        assert "only in A: step/forward (entered 60 times)" in out
        assert "only in B: train/step/forward (entered 60 times)" in out
    assert main(["compare", files[0], str(other), "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["comparable"] is False
    assert main(["compare", files[0], str(other), "--fail-on", "time>5%"]) == 5, "with rules too"


def test_two_without_any_phase_are_not_called_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    summary = training()
    _without_phases(summary)
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps(summary))
    assert main(["compare", str(empty), str(empty)]) == 5
    assert "A and B have no phases" in capsys.readouterr().out


def test_what_an_entry_leaves_is_named_as_in_a_summary_where_it_differs(
    files: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    summary = training()
    for row in summary["phases"]:
        row["allocated_delta_mean_bytes"] = 2**30
    other = tmp_path / "other.json"
    other.write_text(json.dumps(summary))
    assert main(["compare", files[0], str(other)]) == 0
    assert "\nallocated_delta: net/entry of a summary" in capsys.readouterr().out
    assert main(["compare", files[0], files[0]]) == 0
    assert "net/entry" not in capsys.readouterr().out
