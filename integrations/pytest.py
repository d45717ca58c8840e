"""A pytest plugin: memory budgets for tests, a table per test, and a session as a fixture.

    pytest -p phasescope.integrations.pytest --phasescope

    @pytest.mark.memory_budget("200 MiB", phase="forward")
    def test_forward(): ...

It is loaded only on request: by `-p`, in `addopts`, or by `pytest_plugins` in the `conftest.py` at the root.
Tested with pytest 9.2, alone and under xdist.
"""

from __future__ import annotations

import contextlib
from threading import get_ident
from typing import TYPE_CHECKING, Any

import pytest

from phasescope import current, phase, start

from ._budgets import MemoryBudget, OfTest, judged

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from phasescope import Session

_MARK = "memory_budget"
_TEST = "test"
_MAX_EARLIER = 1000  # events before the test, among them the last sample of each device
_MARK_HELP = (
    f"{_MARK}(limit, *, phase=None, device=None, above_start=False): fail the test if the peak of allocated bytes "
    'in it, or in one of its phases, goes over the limit, such as "200 MiB". By phasescope.'
)

_table = pytest.StashKey[str]()
_over_budget = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("phasescope").addoption(
        "--phasescope", action="store_true", help="print a table of the phases and the memory of each test"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARK_HELP)
    if config.getoption("--phasescope"):
        config.pluginmanager.register(_Tables())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        _budgets(item)  # a wrong one ends the run before it begins


@pytest.fixture(name="phasescope")
def session_of_the_test() -> Iterator[Session]:
    """Yield the session that runs during this test, from here on: one with exact peaks, unless one runs already."""
    with _session() as session:
        yield session


@contextlib.contextmanager
def _session() -> Iterator[Session]:
    session = current()
    if session is not None:
        yield session
        return
    with start(peaks=True) as session:
        yield session


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    budgets = _budgets(item)
    if not budgets and not item.config.getoption("--phasescope"):
        return (yield)
    with _session() as session:
        before = session.written
        try:
            with phase(_TEST):
                result = yield
        finally:
            item.stash[_table] = _summed(session)
    wrong = []
    if budgets:
        # About as many as came since: the events show which are the test's, since samples go on coming.
        test = OfTest.of(session.events(last=session.written - before + _MAX_EARLIER), _TEST, get_ident())
        if not test.is_whole:
            test = OfTest.of(session.events(), _TEST, get_ident())
        wrong = [text for budget in budgets if (text := judged(budget, test, _TEST)) is not None]
    if wrong:
        item.stash[_over_budget] = True
        pytest.fail("\n".join(wrong), pytrace=False)
    return result


def _summed(session: Session) -> str:
    """Return the table, below the verdict if something is wrong. That too few steps were seen is no news in a test."""
    answer, table = session.explain(), str(session.summary())
    return table if answer.cause.kind == "none" else f"{answer.verdict}\n{table}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if call.when == "call":
        report.phasescope_table = item.stash.get(_table, None)  # a text, so that it comes through from xdist's workers
        if _over_budget in item.stash and not item.config.getoption("--phasescope"):
            # Not in the message of the failure, which pytest repeats as a whole in its last lines where `CI` is set.
            report.sections.append(("phasescope", item.stash[_table]))
    return report


class _Tables:
    """Prints the tables that `--phasescope` asked for, after the run."""

    def __init__(self) -> None:
        self._tables: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        table = getattr(report, "phasescope_table", None)
        if table is not None:
            self._tables.append((report.nodeid, table))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for nodeid, table in self._tables:
            terminalreporter.section(f"phasescope: {nodeid}")
            terminalreporter.write_line(table)


def _budgets(item: pytest.Item) -> list[MemoryBudget]:
    try:
        return [_budget(*mark.args, **mark.kwargs) for mark in item.iter_markers(_MARK)]
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"{item.nodeid}: {_MARK}: {error}") from None


def _budget(*limits: Any, **options: Any) -> MemoryBudget:
    """Return the budget of a mark. Raises TypeError or ValueError, in the words of the mark."""
    wrong = sorted(options.keys() - {"phase", "device", "above_start"})
    if wrong:
        raise TypeError(f"there is no {', '.join(wrong)}; it takes a limit, and phase=, device=, above_start=")
    if len(limits) != 1:
        raise TypeError(
            f'it takes one limit such as "200 MiB", not {len(limits)}; all else by name, as phase="forward"'
        )
    return MemoryBudget.of(limits[0], **options)
