"""Make a dataset of many ranks quickly: one real session, and the others from it with their own names and figures.

    python scripts/fleet_dataset.py FOLDER --ranks 512 --events 100000

Every row is what the recorder would have written, its metadata included, so that whatever reads datasets can be timed
and compared on it. Rank 3 is slow in `forward`, rank 5 uses the most memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet

import phasescope
from phasescope import phase
from phasescope.recordings.dataset import place_of
from phasescope.recordings.notes import Note
from phasescope.recordings.parquet import WRITTEN_WITH, groups, write
from phasescope.recordings.row_batches import of_events

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOW, FAT = 3, 5
RANKS_A_HOST = 8
JOB = "4711"
PHASES = ("data", "forward", "backward", "optimizer")
_STEPS_A_SAMPLE = 2
_DURATION = '"duration_ns":'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ranks", type=int, default=512)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="leave the metadata as they are in the first session")
    arguments = parser.parse_args()
    begun = time.monotonic()
    size = make(arguments.folder, arguments.ranks, arguments.events, processes=2, quick=arguments.quick)
    print(f"{arguments.ranks} ranks, {size / 1e6:.0f} MB, {time.monotonic() - begun:.0f} s")


def make(folder: Path, ranks: int, events: int, processes: int = 1, quick: bool = False) -> int:
    """Make the dataset; return its size in bytes."""
    with tempfile.TemporaryDirectory() as beside:
        one = partial(_rank, Path(beside), folder, ranks, quick)
        _template(Path(beside), events)
        if processes == 1:
            return sum(map(one, range(ranks)))
        with ProcessPoolExecutor(processes) as pool:
            return sum(pool.map(one, range(ranks), chunksize=4))


def _template(folder: Path, events: int) -> None:
    """Write the table of a real session of about that many events."""
    boundaries = 2 * (1 + len(PHASES))
    with tempfile.TemporaryDirectory() as rings:
        size = max(1 << 20, 256 * events)
        with phasescope.start(directory=rings, backends=["cpu"], capacity_bytes=size, warning_share=None) as session:
            for _ in range(int(events / (boundaries + 1 / _STEPS_A_SAMPLE))):
                with phase("step"):
                    for name in PHASES:
                        with phase(name):
                            pass
        with phasescope.attach(session.path) as reader:
            made, constants = list(_with_samples(reader.events())), reader.constants
    note = Note(constants, state="stopped", heartbeat_ns=made[-1]["timestamp_ns"], end=True)
    write(of_events(made), folder / "template.parquet", note.to_event)


def _with_samples(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the events with more samples among them, as a session has that takes longer."""
    sample = next(event for event in events if event["event_type"] == "sample")
    steps = 0
    for event in events:
        yield event
        scope = event["metadata"].get("phase_scope", {})
        if event["event_type"] == "phase_exit" and scope["path"] == ["step"]:
            steps += 1
            if steps % _STEPS_A_SAMPLE == 0:
                yield {**sample, "timestamp_ns": event["timestamp_ns"]}


def _rank(beside: Path, folder: Path, ranks: int, quick: bool, rank: int) -> int:
    """Write one rank's file; return its size."""
    compute = pyarrow.compute
    table = pyarrow.parquet.read_table(beside / "template.parquet")
    note = json.loads(pyarrow.parquet.read_metadata(beside / "template.parquet").metadata[b"phasescope"])
    former = note["session_id"]
    own = {"session_id": f"{rank:05d}{former[5:]}", "host": f"node-{rank // RANKS_A_HOST}", "job_id": JOB}
    numbers = {"rank": rank, "local_rank": rank % RANKS_A_HOST, "world_size": ranks, "pid": 1000 + rank}
    note.update(own, **numbers)
    note["metadata"]["recording"]["session"].update(own, **numbers)
    rows = len(table)

    durations = compute.add(_noise(rows, rank, 4e5), 10**6)
    if rank == SLOW:
        of_forward = compute.equal(compute.cast(table["phase_path"], pyarrow.string()), "step/forward")
        durations = compute.if_else(of_forward, compute.multiply(durations, 3), durations)
    is_timed = compute.is_valid(table["phase_duration_ns"])
    texts = table["metadata"].combine_chunks()
    metadata = texts if quick else _metadata(texts, durations, is_timed, former, own["session_id"])
    allocated = compute.add(_noise(rows, ranks + rank, 1e6), (8 if rank == FAT else 4) << 28)

    columns = {name: _same(value, rows, pyarrow.string()) for name, value in own.items()}
    columns |= {name: pyarrow.repeat(pyarrow.scalar(value, pyarrow.int64()), rows) for name, value in numbers.items()}
    columns["phase_duration_ns"] = compute.if_else(is_timed, durations, None)
    columns |= {"metadata": metadata, "allocator_allocated_bytes": allocated, "allocator_reserved_bytes": allocated}
    for name, column in columns.items():
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(index).name, column)
    path = folder / place_of(note)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = table.replace_schema_metadata({"phasescope": json.dumps(note)})
    with pyarrow.parquet.ParquetWriter(path, table.schema, **WRITTEN_WITH) as writer:
        for group in groups(table):
            writer.write_table(group)
    return path.stat().st_size


def _metadata(texts: Any, durations: Any, is_timed: Any, former: str, session_id: str) -> Any:
    """Return the texts with these durations and of this session."""
    compute = pyarrow.compute
    before = compute.extract_regex(texts, f"(?s)(?P<text>^.*{_DURATION})").field("text")
    after = compute.extract_regex(texts, f"(?s){_DURATION}[0-9]+(?P<text>.*)$").field("text")
    timed = compute.binary_join_element_wise(before, compute.cast(durations, pyarrow.string()), after, "")
    return compute.replace_substring(compute.if_else(is_timed, timed, texts), former, session_id)


def _noise(rows: int, seed: int, most: float) -> Any:
    shares = pyarrow.compute.random(rows, initializer=seed)
    return pyarrow.compute.cast(pyarrow.compute.multiply(shares, most), pyarrow.int64(), safe=False)


def _same(value: str, rows: int, kind: Any) -> Any:
    places = pyarrow.repeat(pyarrow.scalar(0, pyarrow.int32()), rows)
    return pyarrow.DictionaryArray.from_arrays(places, pyarrow.array([value], kind))


if __name__ == "__main__":
    main()
