"""Packed events, and lines of recordings, that hypothesis makes up: not always as the profiler would write them."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from phasescope.analysis.summary.allocator_counts import KEYS
from phasescope.readers.ring_reader import RingReader
from phasescope.recordings.line_text import line_of
from phasescope.wire.encoding import Raw, encode
from support.events import MadeSession
from support.fakes.rings import CONSTANTS, MemoryRing
from support.recordings import steps

if TYPE_CHECKING:
    from collections.abc import Sequence

BIG = 2**63
LINES = [line_of(event) for event in steps(400)]
"""A sound recording."""

numbers = st.one_of(st.integers(0, 5), st.sampled_from([1000, BIG - 1, BIG, 2**64 - 1]))
devices = st.tuples(
    st.sampled_from(["cuda", "cpu"]),
    st.sampled_from([-1, 0, 1, -BIG]),
    numbers,
    st.none() | numbers,
    st.none() | numbers,
    st.sampled_from([0, 1, 2, 0b11111]),
)
counts = st.dictionaries(st.sampled_from(KEYS), st.integers(0, 20) | numbers, min_size=1)
paths = st.lists(st.sampled_from(["a", "b", "é"]), min_size=0, max_size=4)
types = st.sampled_from(["phase_enter", "phase_exit", "phase_enter", "phase_exit", "sample", "error", "start", "odd"])


@st.composite
def packed_events(draw: st.DrawFn) -> tuple[Any, ...]:
    """Draw an event as the ring holds it, not always as the profiler would write it; it may end after any field."""
    fields = (
        draw(types),
        draw(numbers),
        draw(devices),
        draw(numbers),
        draw(numbers),
        None,
        None,
        draw(st.integers(-5, 5)),
        None,
        draw(st.none() | st.none() | counts | st.sampled_from([{"exhausted": True}, {}, {"num_ooms": None}])),
        draw(st.integers(1, 9)),
        draw(st.none() | st.integers(1, 9)),
        draw(st.none() | st.integers(1, 9)),
        (1, "MainThread"),
        draw(paths),
        draw(st.none() | st.just({"index": 1})),
        draw(st.none() | numbers),
        draw(st.sampled_from(["ok", "ok", "error", "abandoned", "strange"])),
        draw(st.none() | st.just("ValueError")),
        draw(st.none() | st.integers(-9, 9) | st.sampled_from([BIG - 1, -BIG])),
        draw(st.none() | numbers),
    )
    return fields[: draw(st.sampled_from([8, 11, 15, 19, 21, 21, 21]))]


def reader_of_packed(events: list[tuple[Any, ...]], payloads: Sequence[bytes] = ()) -> RingReader:
    """Return a reader of a ring of these events, and behind them these payloads, which are broken."""
    ring = MemoryRing(constants=CONSTANTS)
    for fields in events:
        ring.writer.append(encode(fields))
    for payload in payloads:
        ring.writer.append(bytes(Raw(payload)))
    return RingReader(ring.read, lambda: ring.layout.size, None)


@st.composite
def changed(draw: st.DrawFn, event: dict[str, Any]) -> dict[str, Any]:
    """Return the event, now and then with a part that does not belong there, or without one that does."""
    if draw(st.integers(0, 3)):
        return event
    event = json.loads(json.dumps(event))
    within = [event, event["metadata"], event["metadata"].get("phase_scope", event)]
    part = within[draw(st.integers(0, 2))]
    key = draw(st.sampled_from(sorted(part)))
    if draw(st.booleans()):
        del part[key]
    else:
        part[key] = draw(st.sampled_from([None, 0, -1, BIG, "x", " ", "", True, [], ["a"], [1], {}, 1.5]))
    return event


@st.composite
def recordings(draw: st.DrawFn) -> bytes:
    """Draw a recording of such events, some of them changed."""
    events = reader_of_packed(draw(st.lists(packed_events(), min_size=1, max_size=30))).events()
    lines = [line_of(draw(changed(event))) for event in events]
    return b"".join(lines) + line_of(MadeSession().event("stop"))


def with_wrong_bytes(seed: int, lines: list[bytes] = LINES) -> bytes:
    """Return the sound recording with 40 random bytes behind its first line."""
    chance = random.Random(seed)
    data = bytearray(b"".join(lines))
    for _ in range(40):
        data[chance.randrange(len(lines[0]), len(data))] = chance.randrange(256)
    return bytes(data)


def with_odd_metadata(lines: list[bytes]) -> list[bytes]:
    """Return the sound recording, of which four lines have their metadata elsewhere, twice, spaced or within itself."""
    event, within = json.loads(lines[300]), json.loads(lines[303])
    within["metadata"]["phase_scope"]["attributes"] = {"metadata": 1}
    odd = [
        line_of({"metadata": event["metadata"], **event}),
        lines[301].replace(b'"metadata":', b'"metadata":{},"metadata":'),
        json.dumps(json.loads(lines[302])).encode() + b" \n",
        line_of(within),
    ]
    return [*lines[:300], *odd, *lines[304:]]


def ring_lines(steps: int = 200) -> list[bytes]:
    """Return the lines of a ring's events, to the byte as the profiler writes them: of steps with two phases each."""
    ring = MemoryRing(1 << 20, constants=CONSTANTS)
    number = 0
    for step in range(steps):
        device, opened = ("cuda", 0, 1000 + step // 20, None if step % 40 > 30 else 5, 2**40, 0), number + 1
        for name, is_exit in (
            ("", False),
            ("forward", False),
            ("forward", True),
            ("back", False),
            ("back", True),
            ("", True),
        ):
            number += 1
            event: tuple[Any, ...]
            head = (
                10**18 + number * 977,
                device,
                512 * number,
                1024 * number,
                None,
                number % 9,
                number % 5 - 2,
                None,
                None,
            )
            parent = opened if name else None
            path = ["step", name] if name else ["step"]
            if is_exit:
                scope = number - 1 if name else opened
                delta = None if number % 8 == 0 else -number
                event = (
                    *head,
                    number,
                    scope,
                    parent,
                    (1, "MainThread"),
                    path,
                    None,
                    number * 31,
                    "ok",
                    None,
                    delta,
                    None,
                )
            else:
                event = (
                    *head,
                    number,
                    None,
                    parent,
                    (1, "MainThread"),
                    path,
                    {"step": step} if name == "back" else None,
                )
            ring.writer.append(encode(("phase_exit" if is_exit else "phase_enter", *event)))
    return [line_of(event) for event in RingReader(ring.read, lambda: ring.layout.size, None).iter_events()]
