"""The Grafana dashboards ask for metrics that are exported, by labels that they have, in queries that are valid."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.waiting import CEILING_S

pytest.importorskip("prometheus_client", reason="the extra `prometheus` is not installed")

from phasescope.exporters.prometheus import SESSION_LABELS, every_metric

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "dashboards").glob("*.json"))
NAME = re.compile(r"\bphasescope_[a-z_]+")
GROUPED = re.compile(r"\b(?:by|on|group_left)\s*\(([^)]*)\)")
MATCHED = re.compile(r"(phasescope_[a-z_]+)\{([^}]*)\}")
LEGEND = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")


def loaded(path: Path) -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return dashboard


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def queries(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in panels(dashboard) for target in panel.get("targets", ())]


def exported() -> dict[str, set[str]]:
    """Return the labels of every sample that the page may have, by name."""
    found: dict[str, set[str]] = {}
    for family in every_metric():
        labels = set(getattr(family, "_labelnames", ()))
        if family.type == "histogram":
            found |= {f"{family.name}_{part}": labels | ({"le"} if part == "bucket" else set()) for part in PARTS}
        else:
            found[f"{family.name}_total" if family.type == "counter" else family.name] = labels
    return found


PARTS = ("bucket", "sum", "count")


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    return loaded(request.param)


def test_there_is_one() -> None:
    assert DASHBOARDS


def test_every_query_names_metrics_and_labels_that_are_exported(dashboard: dict[str, Any]) -> None:
    there = exported()
    assert set(SESSION_LABELS) <= there["phasescope_session_state"]
    variables = [each["definition"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    asked = queries(dashboard) + variables
    assert len(asked) > 10
    for query in asked:
        names = set(NAME.findall(query))
        assert names, query
        assert names <= there.keys(), query
        for name, matchers in MATCHED.findall(query):
            labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", matchers))
            assert labels <= there[name], f"{name} has no {labels - there[name]}"
        grouped = {label.strip() for part in GROUPED.findall(query) for label in part.split(",")} - {""}
        assert grouped <= set.union(*(there[name] for name in names)), query


def test_every_legend_names_labels_that_the_query_keeps(dashboard: dict[str, Any]) -> None:
    there = exported()
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            labels = set.union(*(there[name] for name in NAME.findall(target["expr"])))
            kept = [
                {label.strip() for label in part.split(",")} for part in re.findall(r"by \(([^)]*)\)", target["expr"])
            ]
            shown = set(LEGEND.findall(target["legendFormat"]))
            assert shown <= (kept[0] if kept else labels), panel["title"]


def test_ranks_of_several_jobs_are_not_taken_for_one_another(dashboard: dict[str, Any]) -> None:
    for query in queries(dashboard):
        for part in re.findall(r"\bby \(([^)]*\brank\b[^)]*)\)", query):
            assert "job_id" in re.split(r"\W+", part), query


def test_what_all_ranks_of_a_host_see_is_not_added_up(dashboard: dict[str, Any]) -> None:
    shared = re.compile(r"\bsum\b[^(]*\([^(]*\(?phasescope_device_(?:used|used_by_others|free|total)_bytes")
    assert [query for query in queries(dashboard) if shared.search(query)] == []
    of_device = {
        target["expr"] for panel in panels(dashboard) if "holder" in panel["title"] for target in panel["targets"]
    }
    assert {query.partition(" ")[0] for query in of_device} == {
        "avg"
    }  # those of one kind, so that they make up the whole


def test_every_variable_is_there_and_every_panel_has_a_place(dashboard: dict[str, Any]) -> None:
    there = {each["name"] for each in dashboard["templating"]["list"]}
    text = " ".join(queries(dashboard))
    used = set(re.findall(r"\$([a-z_]+)", text)) - {"__range", "__rate_interval"}
    assert {name.rstrip("_") for name in used if not name.startswith("__")} <= there
    ids = [panel["id"] for panel in panels(dashboard)]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in panels(dashboard):
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of Prometheus) is not installed")
def test_prometheus_reads_every_query(dashboard: dict[str, Any], tmp_path: Path) -> None:
    rules = []
    for number, query in enumerate(queries(dashboard)):
        plain = query.replace("$__rate_interval", "1m").replace("$__range", "1h")
        rules.append({"record": f"query:{number}", "expr": re.sub(r"\$[a-z_]+", ".*", plain)})
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, timeout=CEILING_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
