"""This process's identity among the ranks of its job: by the arguments of `start()`, else by launcher or framework."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from phasescope.wire.event import Identity, resolve_identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.capture.options import Options

run_id: str | None = None
"""The job of a `phasescope run` of several processes, if this is one of them."""


def identity(options: Options) -> Identity:
    """Return the identity of a session with these options.

    Raises ValueError for a rank or world size that does not fit.
    """
    resolved = resolve_identity(
        job_id=options.job_id,
        rank=options.rank,
        local_rank=options.local_rank,
        world_size=options.world_size,
        environ=_environment(os.environ),
    )
    return resolved if resolved.job_id is not None else resolved._replace(job_id=run_id)


def _environment(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with torch's or JAX's rank and size: a script may begin its group with its own."""
    group = _process_group()
    if group is None:
        return environ
    rank, world_size = group
    by_launcher = resolve_identity(environ=environ)
    if (by_launcher.rank, by_launcher.world_size) == group:
        return environ  # the launcher may say which job it is
    local = {"LOCAL_RANK": str(by_launcher.local_rank)} if by_launcher.world_size == world_size else {}
    return {**_jax_address(), **environ, **local, "RANK": str(rank), "WORLD_SIZE": str(world_size)}


def _process_group() -> tuple[int, int] | None:
    """Return the rank and size of torch's or JAX's processes, if they have met already and are several."""
    for of_framework in (_torch_group, _jax_group):
        try:
            group = of_framework()
        except Exception:
            continue
        if group is not None and 0 <= group[0] < group[1] > 1:
            return group
    return None


def _torch_group() -> tuple[int, int] | None:
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return int(distributed.get_rank()), int(distributed.get_world_size())


def _jax_group() -> tuple[int, int] | None:
    # jax.process_index() would start the devices, which may be what the script does not want yet.
    state = _jax_state()
    return None if state is None else (int(state.process_id), int(state.num_processes))


def _jax_address() -> Mapping[str, str]:
    """Return where JAX's processes meet, by torch's names."""
    address = getattr(_jax_state(), "coordinator_address", None)
    host, colon, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    return {"MASTER_ADDR": host, "MASTER_PORT": port} if colon else {}


def _jax_state() -> Any:
    """Return what `jax.distributed.initialize()` has noted; None before it."""
    state = getattr(sys.modules.get("jax._src.distributed"), "global_state", None)
    return state if getattr(state, "client", None) is not None else None
