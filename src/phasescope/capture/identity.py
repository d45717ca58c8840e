"""This process's identity among the ranks of its job: by the arguments of `start()`, else by the launcher or torch."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

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
    """Return the environment with torch's rank and size: a script may begin its process group with its own."""
    group = _process_group()
    if group is None:
        return environ
    rank, world_size = group
    by_launcher = resolve_identity(environ=environ)
    if (by_launcher.rank, by_launcher.world_size) == group:
        return environ  # the launcher may say which job it is
    local = {"LOCAL_RANK": str(by_launcher.local_rank)} if by_launcher.world_size == world_size else {}
    return {**environ, **local, "RANK": str(rank), "WORLD_SIZE": str(world_size)}


def _process_group() -> tuple[int, int] | None:
    """Return the rank and size of torch's default process group, if it exists already and has several ranks."""
    distributed = sys.modules.get("torch.distributed")
    try:
        if distributed is None or not distributed.is_available() or not distributed.is_initialized():
            return None
        rank_and_size = int(distributed.get_rank()), int(distributed.get_world_size())
    except Exception:
        return None
    return rank_and_size if rank_and_size[1] > 1 else None
