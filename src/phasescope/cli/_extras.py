"""The optional dependencies by the extra that installs them, and what each brings: a part of `phasescope doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope._packages import is_installed
from phasescope.analysis.formatting import Column, table

if TYPE_CHECKING:
    from phasescope.cli._output import Terminal

_COLUMNS = (Column("extra", right=False), Column("", right=False), Column("brings", right=False, flexible=True))


class _Extra(NamedTuple):
    name: str
    modules: tuple[str, ...]
    brings: str


EXTRAS = (
    _Extra("top", ("textual",), "phasescope top: sessions live in the terminal"),
    _Extra("web", ("starlette", "uvicorn", "plotly"), "phasescope web and report: the page, live or as one file"),
    _Extra("parquet", ("pyarrow",), "recordings as Parquet"),
    _Extra("fleet", ("duckdb", "pyarrow", "fsspec"), "phasescope ranks over a dataset of many ranks"),
    _Extra("zstd", ("zstandard",), "recordings as .jsonl.zst: smaller, and quicker to write"),
    _Extra("prometheus", ("prometheus_client",), "phasescope export --prometheus"),
    _Extra("otlp", ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"), "phasescope export --otlp"),
    _Extra("tensorboard", ("tensorboard",), "phasescope export --to tensorboard"),
    _Extra("mlflow", ("mlflow",), "phasescope export --to mlflow"),
    _Extra("wandb", ("wandb",), "phasescope export --to wandb"),
    _Extra("demo", ("torch",), "phasescope demo"),
)


def installed_extras() -> list[dict[str, Any]]:
    """Return one mapping an extra; imports no module of theirs beyond a package that holds others."""
    return [
        {
            "name": extra.name,
            "lacks": [module for module in extra.modules if not is_installed(module)],
            "brings": extra.brings,
        }
        for extra in EXTRAS
    ]


def show(out: Terminal, extras: list[dict[str, Any]]) -> None:
    """Show the table, and the line that installs what is not there."""
    out.line()
    title, *lines = table(_COLUMNS, map(_cells, extras), out.width)
    out.line(title, "bold")
    for extra, line in zip(extras, lines, strict=True):
        out.line(line, "" if extra["lacks"] else "green")
    lacking = [extra["name"] for extra in extras if extra["lacks"]]
    if lacking:
        out.line(f'  → pip install "phasescope[{",".join(lacking)}]"', "dim")


def _cells(extra: dict[str, Any]) -> list[str]:
    state = f"lacks {', '.join(extra['lacks'])}" if extra["lacks"] else "installed"
    return [extra["name"], state, extra["brings"]]
