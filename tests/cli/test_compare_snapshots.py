"""`phasescope compare` of two snapshots: what became more, and nothing that is not known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope import cli

if TYPE_CHECKING:
    import pytest

KEEPER = {
    "container": "list",
    "expression": "losses",
    "scope": "local",
    "function": "main",
    "file": "train.py",
    "line": 9,
    "line_file": "train.py",
    "kept": 400,
}


def group(count: int, shape: list[int], **fields: Any) -> dict[str, Any]:
    size = 4 * count
    for length in shape:
        size *= length
    common = {"library": "torch", "device": "cuda:0", "dtype": "float32", "shape": shape}
    return {**common, "count": count, "bytes": size, **fields}


def snapshot(**parts: Any) -> dict[str, Any]:
    return {"kind": "snapshot", "schema_version": 1, "session": {"session_id": "s"}, **parts}


BEFORE = snapshot(
    tensors={"largest": [group(100, [32, 1000]), group(4, [1000, 1000])]},
    objects={"objects": 900, "types": [["list", 500], ["dict", 300]]},
    traced={"lines": [{"file": "/x/train.py", "line": 9, "bytes": 1000, "count": 10}]},
    devices=[{"device": "cuda:0", "live_bytes": 1 << 20, "reserved_bytes": 1 << 21, "lines": []}],
    host={"anonymous_bytes": 1 << 28, "heap_free_bytes": 5},
)
AFTER = snapshot(
    tensors={"largest": [group(400, [32, 1000], keeper=KEEPER), group(4, [1000, 1000])]},
    objects={"objects": 1200, "types": [["list", 800], ["dict", 290], ["Row", 40]]},
    traced={
        "lines": [
            {"file": "/x/train.py", "line": 9, "bytes": 901_000, "count": 910},
            {"file": "/x/data.py", "line": 3, "bytes": 70_000, "count": 1},
        ]
    },
    devices=[{"device": "cuda:0", "live_bytes": 39 << 20, "reserved_bytes": 1 << 21, "lines": []}],
    host={"anonymous_bytes": 1 << 29, "heap_free_bytes": 6},
)


def saved(tmp_path: Path, name: str, data: object) -> str:
    (tmp_path / name).write_text(json.dumps(data))
    return str(tmp_path / name)


def compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], a: object, b: object, *more: str
) -> tuple[int, str, str]:
    exit_code = cli.main(["compare", saved(tmp_path, "a.json", a), saved(tmp_path, "b.json", b), *more])
    return exit_code, *capsys.readouterr()


def test_what_became_more_is_shown_with_who_keeps_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exit_code, out, _ = compared(tmp_path, capsys, BEFORE, AFTER)
    assert exit_code == 0
    rows = [line.split(maxsplit=1)[0] + line.partition("+")[2] for line in out.splitlines()[1:]]
    assert rows == [
        "tensors36.6 MiB  400 cuda:0: tensors of float32[32, 1000], kept by list `losses` in train.py:9",
        "lines879 KiB  910 /x/train.py:9",
        "lines68.4 KiB  1 /x/data.py:3",
        "objects300  list",
        "objects40  Row",
        "memory256 MiB  host: its own pages",
        "memory38.0 MiB  cuda:0: live",
    ]


def test_as_json_every_key_is_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = compared(tmp_path, capsys, BEFORE, AFTER, "--json")
    told = json.loads(out)
    page = (Path(__file__).parents[2] / "docs" / "snapshot.md").read_text(encoding="utf-8")
    assert not [key for key in (*told, *told["changes"][0]) if f"`{key}`" not in page]
    assert told["changes"][0]["more"] == told["changes"][0]["bytes_after"] - told["changes"][0]["bytes_before"]


def test_what_a_full_list_leaves_out_is_not_taken_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = {"objects": 1, "types": [[f"class{number}", 10**6] for number in range(60)]}
    other = {"objects": 1, "types": [["Fresh", 10**6], *full["types"][:59]]}  # type: ignore[index]
    _, out, _ = compared(tmp_path, capsys, snapshot(objects=full), snapshot(objects=other), "--json")
    (fresh,) = (each for each in json.loads(out)["changes"] if each["name"] == "Fresh")
    assert (fresh["count_before"], fresh["more"]) == (None, 0)


def test_what_cannot_be_compared_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    why = {"why_not": "tracemalloc does not run"}
    exit_code, out, _ = compared(tmp_path, capsys, snapshot(traced=why), snapshot(traced=why))
    assert (exit_code, "lines: A has none: tracemalloc does not run" in out) == (5, True)
    exit_code, _, err = compared(tmp_path, capsys, BEFORE, {"phases": []})
    assert (exit_code, "two of a kind" in err) == (2, True)
    exit_code, _, err = compared(tmp_path, capsys, BEFORE, AFTER, "--fail-on", "time>5%")
    assert (exit_code, "none for snapshots" in err) == (2, True)
    hostile = snapshot(tensors={"largest": [1, {"shape": "x"}]}, objects={"types": [[1], {}]}, devices=7, traced=[])
    assert compared(tmp_path, capsys, hostile, hostile)[0] in (0, 5)
