"""The cell magic `%%phase` for IPython and Jupyter: a whole cell as one phase.

    %load_ext phasescope.integrations.notebook

    %%phase forward
    loss = loss_of(model(inputs), targets)

Tested with IPython 9.18. Sessions, summaries and readers show themselves as HTML without this.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from phasescope import phase

from ._frameworks import framework

if TYPE_CHECKING:
    from collections.abc import Callable

magic = framework("notebook", "IPython.core.magic", pip="ipython")

__all__ = ["load_ipython_extension", "unload_ipython_extension"]


def load_ipython_extension(shell: Any) -> None:
    """Register the magic, for `%load_ext phasescope.integrations.notebook`. Starts no session."""
    shell.register_magic_function(_phase_magic(shell), magic_kind="cell", magic_name="phase")


def unload_ipython_extension(shell: Any) -> None:
    """Remove the magic, for `%unload_ext`."""
    shell.magics_manager.magics["cell"].pop("phase", None)


def _phase_magic(shell: Any) -> Callable[[str, str], Any]:
    def run_as_phase(line: str, cell: str) -> Any:
        """%%phase NAME: run the cell as one phase of the session that runs, if one does.

        An exception ends the phase as an error, and the cell. `await` outside of a function is not for this magic.
        """
        name = line.strip()
        if not name:
            raise shell_error("%%phase needs a name, as in: %%phase forward")
        statements, last = _compiled(shell, cell)
        namespace = shell.user_ns
        with phase(name):
            if statements is not None:
                exec(statements, namespace)
            return None if last is None else eval(last, namespace)

    shell_error = framework("notebook", "IPython.core.error", pip="ipython").UsageError
    silenceable: Callable[[str, str], Any] = magic.output_can_be_silenced(run_as_phase)
    return silenceable


def _compiled(shell: Any, cell: str) -> tuple[Any, Any]:
    """Return the cell's statements, and its last expression, whose value is the cell's; None for a missing part."""
    source = shell.transform_cell(cell)
    name = shell.compile.cache(source)  # so that tracebacks show the lines
    tree = shell.transform_ast(shell.compile.ast_parse(source, filename=name))
    last = tree.body.pop().value if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    return (
        shell.compile(tree, name, "exec") if tree.body else None,
        None if last is None else shell.compile(ast.Expression(last), name, "eval"),
    )
