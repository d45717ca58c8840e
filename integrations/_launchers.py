"""For `phasescope run`: ranks that Lightning or Ray starts by ways of their own, and ranks that are known late."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ._imports import when_imported
from ._scopes import logger
from ._tracebacks import step_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_LIGHTNING = (
    "lightning.fabric.strategies.launchers.subprocess_script",
    "lightning.pytorch.strategies.launchers.subprocess_script",
    "lightning_fabric.strategies.launchers.subprocess_script",
    "pytorch_lightning.strategies.launchers.subprocess_script",
)


def watch(
    command: Callable[[list[str]], list[str]],
    rank_is_known: Callable[[], None],
    carried: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> None:
    """Have `command` make the command lines of Lightning's ranks, and `carried` the loop that is sent to Ray's.

    `rank_is_known` is called once torch knows its.
    """
    with_commands = functools.partial(_make_commands, command=command)
    begins = functools.partial(_after_init, then=rank_is_known)
    sent = functools.partial(_send_to_ray, carried=carried)
    when_imported(
        {
            **dict.fromkeys(_LIGHTNING, with_commands),
            "torch.distributed.distributed_c10d": begins,
            "ray.train.v2.api.data_parallel_trainer": sent,
        }
    )


def _send_to_ray(module: ModuleType, carried: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Wrap the loop of Ray's TorchTrainer and its like: they pack it into a function, which only its ranks unpack."""
    trainer = module.DataParallelTrainer
    pack = trainer._get_train_func

    @functools.wraps(pack)
    def _get_train_func(self: Any) -> Any:
        try:
            loop = pack(self)
        except BaseException as error:
            step_out(error)
            raise
        try:
            return carried(loop)
        except Exception as error:
            logger.warning("Ray's ranks have no sessions (%s: %s)", type(error).__name__, error)
            return loop

    trainer._get_train_func = _get_train_func


def _make_commands(module: ModuleType, command: Callable[[list[str]], list[str]]) -> None:
    names = vars(module)
    for name in ("_basic_subprocess_cmd", "_hydra_subprocess_cmd"):
        made = names.get(name)
        if made is not None and not hasattr(made, "phasescope"):
            setattr(module, name, _through(made, command))


def _through(made: Callable[..., Any], command: Callable[[list[str]], list[str]]) -> Callable[..., Any]:
    @functools.wraps(made)
    def make(*args: Any, **kwargs: Any) -> Any:
        try:
            made_command = made(*args, **kwargs)
        except BaseException as error:
            step_out(error)
            raise
        try:
            if isinstance(made_command, tuple):  # with the directory to run in
                return (command(list(made_command[0])), *made_command[1:])
            return command(list(made_command))
        except Exception as error:
            logger.warning("a rank has no session (%s: %s)", type(error).__name__, error)
            return made_command

    make.phasescope = True  # type: ignore[attr-defined]
    return make


def _after_init(module: ModuleType, then: Callable[[], None]) -> None:
    init = module.init_process_group

    @functools.wraps(init)
    def init_process_group(*args: Any, **kwargs: Any) -> Any:
        try:
            result = init(*args, **kwargs)
        except BaseException as error:
            step_out(error)
            raise
        try:
            then()
        except Exception as error:
            logger.warning("the session does not know its rank (%s: %s)", type(error).__name__, error)
        return result

    module.init_process_group = init_process_group  # type: ignore[attr-defined]
