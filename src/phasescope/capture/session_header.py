"""The constants of a session in its ring's header, which a reader adds to every event."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from phasescope import _native, _os_compat
from phasescope._secrets import words_without_secrets
from phasescope._version import VERSION
from phasescope.capture import parent_process
from phasescope.capture.cluster_names import cluster_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.capture.options import Options
    from phasescope.wire.event import Identity

MAX_ARGUMENT = 500
MAX_ARGUMENTS = 100


def session_constants(
    session_id: str, pid: int, started_ns: int, identity: Identity, options: Options, backends: Sequence[str]
) -> dict[str, Any]:
    """Return the constants of a session, with text that every format can hold."""
    return _text_of(
        {
            "session_id": session_id,
            "host": _os_compat.host_name(),
            "pid": pid,
            "process_start_ticks": _os_compat.process_start_ticks(),
            "started_ns": started_ns,
            "command": [
                word[:MAX_ARGUMENT] for word in words_without_secrets(parent_process.command_line()[:MAX_ARGUMENTS])
            ],
            **parent_process.link(),
            "python": sys.version.partition(" ")[0],
            "version": VERSION,
            "core": _native.name,
            **identity._asdict(),
            "sampling_interval_ms": options.interval_ms,
            "backends": list(backends),
            "capacity_bytes": options.capacity_bytes,
            "requests": options.requests,
            "resource": cluster_names(os.environ),
            **_kernel_kills(),
        }
    )


def _text_of(constants: dict[str, Any]) -> dict[str, Any]:
    """Return the constants with text that every format can hold: arguments and environment may be any bytes."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(each) for each in value]
        if isinstance(value, dict):
            return {plain(key): plain(each) for key, each in value.items()}
        return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value

    return {key: plain(value) for key, value in constants.items()}


def _kernel_kills() -> dict[str, Any]:
    """Return the counters that show afterwards whether the kernel's OOM killer has struck meanwhile."""
    counter = _os_compat.oom_kills()
    return {} if counter is None else {"oom_kills_path": counter[0], "oom_kills": counter[1]}
