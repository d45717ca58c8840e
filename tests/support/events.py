"""Events made by hand, for code that works on events alone: a session whose clock and memory the test sets."""

from __future__ import annotations

from typing import Any

SESSION_ID = "5b0e6a3e-5a0c-4e7f-8a55-0f1d7c9a1b2c"
START_NS = 1_763_900_000_000_000_000
MS = 1_000_000
MIB = 1024 * 1024


class MadeSession:
    """Writes v3 events into `events`. `now_ns` and `allocated` are for the test to move."""

    def __init__(self, *, backend: str = "cuda", device_id: int = 0, **constants: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.now_ns = START_NS
        self.allocated = 0
        self.backend = backend
        self.device_id = device_id
        self._constants = constants
        self._entries = 0
        self._sequence = 0

    def event(self, event_type: str, *, metadata: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
        """Add any event of now."""
        backend = keys.pop("backend", self.backend)
        event = {
            "schema_version": 3,
            "session_id": SESSION_ID,
            "timestamp_ns": self.now_ns,
            "event_type": event_type,
            "collector": f"phasescope.{backend}",
            "sampling_interval_ms": 100,
            "pid": 4242,
            "host": "node-07",
            "device_id": self.device_id,
            "allocator_allocated_bytes": self.allocated,
            "allocator_reserved_bytes": self.allocated,
            "allocator_active_bytes": None,
            "allocator_inactive_bytes": None,
            "allocator_change_bytes": 0,
            "device_used_bytes": self.allocated,
            "device_free_bytes": None,
            "device_total_bytes": None,
            "context": None,
            "job_id": None,
            "rank": 0,
            "local_rank": 0,
            "world_size": 1,
            "metadata": {"backend": backend, **(metadata or {})},
        }
        event.update(self._constants)
        event.update(keys)
        self.events.append(event)
        return event

    def enter(self, *path: str, parent: MadePhase | None = None) -> MadePhase:
        """Begin a phase."""
        self._entries += 1
        entered = MadePhase(self, path, self._entries, parent)
        entered.boundary("phase_enter")
        return entered

    def run(self, *path: str, ms: int = 1, change: int = 0, **exit_fields: Any) -> None:
        """Run a phase of `ms` that changes the allocated memory by `change` bytes."""
        entered = self.enter(*path)
        self.now_ns += ms * MS
        self.allocated += change
        entered.exit(**exit_fields)

    def run_out(self, entered: MadePhase, keys: dict[str, Any] | None = None, **metadata: Any) -> None:
        """End the phase with a MemoryError of the host's memory, and note it."""
        entered.exit(status="error", error_type="MemoryError")
        details = {"error_type": "MemoryError", "out_of_memory": True, "memory": "host", "settings": {}, **metadata}
        self.event("error", context="MemoryError", metadata={"phase_scope": entered.scope(), **details}, **(keys or {}))

    def sample(self, inside: MadePhase | None = None, **keys: Any) -> dict[str, Any]:
        """Add the sampler's event, in a phase or in none."""
        metadata = {"phase_scope": inside.scope()} if inside is not None else {}
        return self.event("sample", metadata=metadata, **keys)


class MadePhase:
    """One entry of a phase."""

    def __init__(self, session: MadeSession, path: tuple[str, ...], number: int, parent: MadePhase | None) -> None:
        self.session = session
        self.path = path
        self.scope_id = f"{SESSION_ID}:{number}"
        self.parent_scope_id = parent.scope_id if parent is not None else None
        self.entered_ns = session.now_ns
        self.entered_with = session.allocated

    def scope(self, **fields: Any) -> dict[str, Any]:
        """Return the `phase_scope` object."""
        return {
            "name": self.path[-1],
            "path": list(self.path),
            "depth": len(self.path),
            "scope_id": self.scope_id,
            "parent_scope_id": self.parent_scope_id,
            "thread_id": 1,
            "thread_name": "MainThread",
            "sequence": len(self.session.events) + 1,
            **fields,
        }

    def boundary(self, event_type: str, *, exhausted: bool = False, **fields: Any) -> dict[str, Any]:
        """Add a boundary event with these fields of its own."""
        action = event_type.removeprefix("phase_")
        metadata: dict[str, Any] = {"phase_scope": self.scope(action=action, **fields)}
        if exhausted:
            metadata["exhausted"] = True
        return self.session.event(event_type, metadata=metadata)

    def exit(self, *, status: str = "ok", exhausted: bool = False, **fields: Any) -> dict[str, Any]:
        """End the phase now."""
        measured = {
            "duration_ns": self.session.now_ns - self.entered_ns,
            "status": status,
            "allocated_delta_bytes": self.session.allocated - self.entered_with,
        }
        return self.boundary("phase_exit", exhausted=exhausted, **{**measured, **fields})
