"""Two snapshots of a training side by side: which tensors, lines, objects and figures became more."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from phasescope.analysis.diagnosis.census import tensors_of
from phasescope.analysis.diagnosis.census_text import keeper_text, kind_text
from phasescope.analysis.event_fields import size_or_none
from phasescope.analysis.formatting import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from phasescope.analysis.diagnosis.census import GrownObjects

SNAPSHOT = "snapshot"
SCHEMA_VERSION = 1
"""Of what `compare --json` prints of two snapshots; a key may be added without a new version."""

TENSORS, LINES, OBJECTS, MEMORY = "tensors", "lines", "objects", "memory"
_MOST = 200
_LONGEST = 200
_OF_DEVICE = ("live_bytes", "reserved_bytes")
_OF_HOST = {
    "anonymous_bytes": "host: its own pages",
    "mapped_file_bytes": "host: mapped files",
    "shared_memory_bytes": "host: shared memory",
    "heap_used_bytes": "the C library's heap: in use",
    "heap_free_bytes": "the C library's heap: free between blocks in use",
    "heap_mapped_bytes": "the C library's heap: large blocks of their own",
}


@dataclass(frozen=True)
class Difference:
    """One thing in both snapshots. `part` is `tensors`, `lines`, `objects` or `memory`; a count or size that one side
    does not have is 0 if that side listed all that it has, else None. `kept_by` is who keeps it, by the later one."""

    part: str
    name: str
    count_before: int | None
    count_after: int | None
    bytes_before: int | None
    bytes_after: int | None
    kept_by: str | None = None

    @property
    def more(self) -> int:
        """By how many bytes it became more or, of objects, by how many."""
        return _less(self.count_after, self.count_before) if self.part == OBJECTS else self.bytes_more

    @property
    def bytes_more(self) -> int:
        """By how many bytes."""
        return _less(self.bytes_after, self.bytes_before)


Amounts = dict[str, tuple[int | None, int | None]]
"""Counts and bytes by name."""


def is_snapshot(data: object) -> bool:
    """Return whether this is a snapshot, as `phasescope snapshot -o` writes it."""
    return isinstance(data, dict) and data.get("kind") == SNAPSHOT


def compare_snapshots(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Return what both snapshots could tell and what changed of it, of each part what grew most first."""
    differences: list[Difference] = []
    for part, find in ((TENSORS, _tensors), (LINES, _lines), (OBJECTS, _objects), (MEMORY, _memory)):
        old, new = find(before), find(after)
        if old is None or new is None:
            continue
        nothing = None if part == MEMORY or len(old) >= _FULL[part] or len(new) >= _FULL[part] else 0
        names = list(dict.fromkeys([*new, *old]))
        of_part = [
            Difference(part, name, old_count, new_count, old_bytes, new_bytes)
            for name in names
            for (old_count, old_bytes), (new_count, new_bytes) in [
                (old.get(name, (nothing, nothing)), new.get(name, (nothing, nothing)))
            ]
            if (old_count, old_bytes) != (new_count, new_bytes)
        ]
        differences += sorted(of_part, key=lambda each: -each.more)[:_MOST]
    keepers = _keepers(after)
    return [replace(each, kept_by=keepers.get(each.name)) if each.part == TENSORS else each for each in differences]


_FULL = {TENSORS: 40, LINES: 60, OBJECTS: 60, MEMORY: 1 << 30}
"""The most that a snapshot lists: what is missing in a list of that length may be there all the same."""


def not_comparable(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the parts that one of them does not have, each with its reason."""
    reasons = []
    for part, find, key in ((TENSORS, _tensors, "tensors"), (LINES, _lines, "traced"), (OBJECTS, _objects, "objects")):
        for side, snapshot in (("A", before), ("B", after)):
            if find(snapshot) is None:
                answer = snapshot.get(key)
                why = answer.get("why_not") if isinstance(answer, dict) else None
                reasons.append(f"{part}: {side} has none{f': {printable(why)[:_LONGEST]}' if why else ''}")
                break
    return reasons


def to_dict(differences: list[Difference], missing: list[str]) -> dict[str, Any]:
    """Return them as JSON types."""
    changes = [{**asdict(each), "more": each.more} for each in differences]
    return {"schema_version": SCHEMA_VERSION, "kind": "snapshots", "changes": changes, "not_comparable": missing}


def _tensors(snapshot: Mapping[str, Any]) -> Amounts | None:
    tensors = snapshot.get("tensors")
    if not isinstance(tensors, dict) or "largest" not in tensors:
        return None
    by_name: Amounts = {}
    for group in tensors_of(tensors["largest"], _FULL[TENSORS]):
        name = _name_of(group)
        count, size = by_name.get(name, (0, 0))
        by_name[name] = (count or 0) + group.count, (size or 0) + group.bytes
    return by_name


def _name_of(group: GrownObjects) -> str:
    device = "" if group.device in ("cpu", "") else f"{printable(group.device)}: "
    return f"{device}{kind_text(group)}"


def _keepers(snapshot: Mapping[str, Any]) -> dict[str, str]:
    """Return who keeps which tensors: of several the one that has most of them."""
    tensors = snapshot.get("tensors")
    groups = list(tensors_of(tensors.get("largest"), _FULL[TENSORS])) if isinstance(tensors, dict) else []
    ordered = sorted(groups, key=lambda group: group.kept)
    return {_name_of(group): keeper_text(group.keeper) for group in ordered if group.keeper is not None}


def _lines(snapshot: Mapping[str, Any]) -> Amounts | None:
    by_name: Amounts = {}
    parts = [("", snapshot.get("traced"))]
    devices = snapshot.get("devices")
    parts += [(f"{each.get('device')}: ", each) for each in _dicts(devices, 64) if each.get("lines")]
    is_known = False
    for where, part in parts:
        lines = part.get("lines") if isinstance(part, dict) else None
        is_known = is_known or isinstance(lines, list)
        for entry in _dicts(lines, _FULL[LINES]):
            name = printable(f"{where}{entry.get('file')}:{entry.get('line')}")[-_LONGEST:]
            by_name[name] = size_or_none(entry.get("count")), size_or_none(entry.get("bytes"))
    return by_name if is_known else None


def _objects(snapshot: Mapping[str, Any]) -> Amounts | None:
    objects = snapshot.get("objects")
    types = objects.get("types") if isinstance(objects, dict) else None
    if not isinstance(types, list):
        return None
    pairs = [each for each in types[: _FULL[OBJECTS]] if isinstance(each, list) and len(each) == 2]
    return {printable(str(name))[:_LONGEST]: (size_or_none(count), None) for name, count in pairs}


def _memory(snapshot: Mapping[str, Any]) -> Amounts | None:
    by_name: Amounts = {}
    host = snapshot.get("host")
    if isinstance(host, dict):
        for key, name in _OF_HOST.items():
            if key in host:
                by_name[name] = None, size_or_none(host[key])
    for device in _dicts(snapshot.get("devices"), 64):
        for key in _OF_DEVICE:
            if key in device:
                by_name[f"{printable(device.get('device'))}: {key.partition('_')[0]}"] = None, size_or_none(device[key])
    return by_name


def _dicts(entries: object, most: int) -> Iterator[dict[str, Any]]:
    for entry in entries[:most] if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            yield entry


def _less(after: int | None, before: int | None) -> int:
    return (after or 0) - (before or 0) if after is not None and before is not None else 0
