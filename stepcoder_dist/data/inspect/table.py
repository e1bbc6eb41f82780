"""The answer of `stepcoder data inspect FILE`: a table for a reader, an object for a program."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from stepcoder_dist.data.inspect.inspection import LevelSummary, SetSummary
from stepcoder_dist.data.inspect.reference_run import LevelRuns, ReferenceRun, SetRuns
from stepcoder_dist.problems import Account
from stepcoder_dist.records import Outcome

_ROWS: tuple[tuple[str, Callable[[LevelSummary], object]], ...] = (
    ("problems", lambda level: level.problems),
    ("on standard input", lambda level: level.kinds["stdin"]),
    ("by call", lambda level: level.kinds["call"]),
    ("by assert script", lambda level: level.kinds["script"]),
    ("without a reference", lambda level: level.without_reference),
)
_SPREADS = {
    "tests": "tests",
    "conditionals": "conditional statements",
    "stages": "curriculum stages",
    "reference_lines": "lines of the reference",
    "reference_tokens": "tokens of the reference",
    "statement_chars": "characters of the statement",
    "statement_tokens": "tokens of the statement",
}
_RUNS: tuple[tuple[str, Callable[[LevelRuns], object]], ...] = (
    ("references that pass", lambda level: f"{level.outcomes[Outcome.PASSED]} of {level.run}"),
    ("executed by their tests", lambda level: _percent(level.executed_share)),
    ("with lines never executed", lambda level: level.uncovered),
)
_NAMED = 10
"""Problems of each kind that the text names; `--json` names more."""


def as_json(
    source: str, summary: SetSummary, account: Account, runs: SetRuns | None
) -> dict[str, Any]:
    """Return everything that the table shows, and every bad row."""
    found = {
        "source": source,
        "levels": {name: level.as_json() for name, level in summary.levels().items()},
        "bad_rows": [str(error) for error in account.bad],
    }
    return found if runs is None else {**found, "references": runs.as_json()}


def print_table(
    console: Console, summary: SetSummary, account: Account, runs: SetRuns | None
) -> None:
    """Print the table, the rows that were left out, and the references that fail or have gaps."""
    console.print(_table(summary, runs))
    if account.bad:
        total = account.good + len(account.bad)
        _name(console, f"left out, {len(account.bad)} of {total} rows:", map(str, account.bad))
    if runs is not None:
        _name(console, "references that do not pass:", map(_failure, runs.failed))
        _name(console, "lines that no test executes:", map(_gap, runs.uncovered))


def _table(summary: SetSummary, runs: SetRuns | None) -> Table:
    levels = summary.levels()
    table = Table(title="Problems by level", caption="median (least–largest)")
    table.add_column("")
    for name in levels:
        table.add_column(name, justify="right")

    for title, value in _ROWS:
        table.add_row(title, *(str(value(level)) for level in levels.values()))
    for name, title in _SPREADS.items():
        if name in summary.all.spreads:
            spreads = [level.spreads.get(name) for level in levels.values()]
            table.add_row(title, *("–" if spread is None else str(spread) for spread in spreads))
    if runs is not None:
        by_level = runs.levels()
        table.add_section()
        for title, figure in _RUNS:
            found = [by_level.get(name) for name in levels]
            table.add_row(title, *("–" if level is None else str(figure(level)) for level in found))
    return table


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _failure(run: ReferenceRun) -> str:
    detail = f": {run.detail}" if run.detail else ""
    return f"{run.problem_id}  {run.outcome.replace('_', ' ')}{detail}"


def _gap(run: ReferenceRun) -> str:
    lines = ", ".join(map(str, run.unexecuted_lines))
    return f"{run.problem_id}  {_percent(run.executed_share)} executed, not line {lines}"


def _name(console: Console, title: str, entries: Iterable[str]) -> None:
    found = list(entries)
    if not found:
        return
    console.print(title, highlight=False)
    for entry in found[:_NAMED]:
        console.print(f"  {entry}", highlight=False, markup=False, soft_wrap=True)
    if len(found) > _NAMED:
        console.print(f"  and {len(found) - _NAMED} more (--json names them)", highlight=False)
