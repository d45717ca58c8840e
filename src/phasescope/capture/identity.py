"""Who this process is among the ranks of its job: by what `start()` was given, else by the launcher or torch."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from phasescope.wire.event import Identity, resolve_identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.capture.options import Options

run_id: str | None = None
"""The job of a `phasescope run` of several processes, where this is one of them."""


def identity(options: Options) -> Identity:
    """The identity of a session with these options. Raises ValueError for a rank or world size that does not fit."""
    found = resolve_identity(
        job_id=options.job_id,
        rank=options.rank,
        local_rank=options.local_rank,
        world_size=options.world_size,
        environ=_environment(os.environ),
    )
    return found if found.job_id is not None else found._replace(job_id=run_id)


def _environment(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment, and what torch knows better: a script may begin its process group with a rank of its own."""
    known = _process_group()
    if known is None:
        return environ
    rank, world_size = known
    by_launcher = resolve_identity(environ=environ)
    local = {"LOCAL_RANK": str(by_launcher.local_rank)} if by_launcher.world_size == world_size else {}
    return {**environ, **local, "RANK": str(rank), "WORLD_SIZE": str(world_size)}


def _process_group() -> tuple[int, int] | None:
    """The rank and size of torch's default process group, where it is there already and has several ranks."""
    distributed = sys.modules.get("torch.distributed")
    try:
        if distributed is None or not distributed.is_available() or not distributed.is_initialized():
            return None
        found = int(distributed.get_rank()), int(distributed.get_world_size())
    except Exception:
        return None
    return found if found[1] > 1 else None
