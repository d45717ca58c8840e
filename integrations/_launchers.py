"""For `phasescope run`: ranks that a framework starts by a command line of its own, and ranks told late."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ._imports import when_imported
from ._scopes import logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_LIGHTNING = (
    "lightning.fabric.strategies.launchers.subprocess_script",
    "lightning.pytorch.strategies.launchers.subprocess_script",
    "lightning_fabric.strategies.launchers.subprocess_script",
    "pytorch_lightning.strategies.launchers.subprocess_script",
)


def watch(command: Callable[[list[str]], list[str]], rank_is_known: Callable[[], None]) -> None:
    """Have `command` make the command lines of Lightning's ranks, and `rank_is_known` called once torch knows its."""
    with_commands = functools.partial(_make_commands, command=command)
    begins = functools.partial(_after_init, then=rank_is_known)
    when_imported({**dict.fromkeys(_LIGHTNING, with_commands), "torch.distributed.distributed_c10d": begins})


def _make_commands(module: ModuleType, command: Callable[[list[str]], list[str]]) -> None:
    names = vars(module)
    for name in ("_basic_subprocess_cmd", "_hydra_subprocess_cmd"):
        made = names.get(name)
        if made is not None and not hasattr(made, "phasescope"):
            setattr(module, name, _through(made, command))


def _through(made: Callable[..., Any], command: Callable[[list[str]], list[str]]) -> Callable[..., Any]:
    @functools.wraps(made)
    def make(*args: Any, **kwargs: Any) -> Any:
        found = made(*args, **kwargs)
        try:
            if isinstance(found, tuple):  # with the directory to run in
                return (command(list(found[0])), *found[1:])
            return command(list(found))
        except Exception as error:
            logger.warning("a rank has no session (%s: %s)", type(error).__name__, error)
            return found

    make.phasescope = True  # type: ignore[attr-defined]
    return make


def _after_init(module: ModuleType, then: Callable[[], None]) -> None:
    init = module.init_process_group

    @functools.wraps(init)
    def init_process_group(*args: Any, **kwargs: Any) -> Any:
        result = init(*args, **kwargs)
        try:
            then()
        except Exception as error:
            logger.warning("the session does not know its rank (%s: %s)", type(error).__name__, error)
        return result

    module.init_process_group = init_process_group  # type: ignore[attr-defined]
