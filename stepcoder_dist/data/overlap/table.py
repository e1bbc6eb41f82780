"""The answer of `stepcoder data overlap`: tables for a reader, an object for a program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepcoder_dist.data.overlap.code_lines import TRIVIAL_BELOW_TOKENS
from stepcoder_dist.data.overlap.overlap import BINS, Found, distribution, measures, overlap
from stepcoder_dist.errors import ProblemError
from stepcoder_dist.host.console import open_console
from stepcoder_dist.problems import Account, solutions, stream

_NAMED = 10


@dataclass(slots=True)
class Comparison:
    """Two sets and what they share."""

    training: str
    evaluated: str
    training_account: Account = field(default_factory=Account)
    evaluated_account: Account = field(default_factory=Account)
    found: dict[str, list[Found]] = field(default_factory=dict)
    """By measure, a result for each evaluated solution."""


def compare(training: str, evaluated: str, *, n: int, max_bad_share: float) -> Comparison:
    """Read both sets. Raises `ProblemError` for rows that cannot be read."""
    result = Comparison(training, evaluated)

    def references() -> Iterator[tuple[str, str]]:
        account = result.evaluated_account
        for problem in stream(evaluated, max_bad_share=max_bad_share, account=account):
            if problem.reference:
                yield problem.problem_id, problem.reference

    def every_solution() -> Iterator[tuple[str, list[str]]]:
        account = result.training_account
        console = Console(stderr=True)
        with console.status(Text(f"reading {training}")) as status:
            for row in solutions(training, max_bad_share=max_bad_share, account=account):
                if account.good % 100 == 0:
                    status.update(Text(f"{training}: {account.good} problems"))
                yield row

    result.found = overlap(references(), every_solution(), measures(n))
    if not any(result.found.values()):
        raise ProblemError(f"{evaluated}: no problem has a reference solution to look for")
    return result


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the complete comparison, problem by problem, in the evaluated set's order."""
    by_problem = zip(*comparison.found.values(), strict=True)
    return {
        "training": comparison.training,
        "evaluated": comparison.evaluated,
        "training_problems": comparison.training_account.good,
        "evaluated_problems": comparison.evaluated_account.good,
        "trivial_below_tokens": TRIVIAL_BELOW_TOKENS,
        "bins": BINS,
        "measures": {name: asdict(distribution(found)) for name, found in comparison.found.items()},
        "problems": [
            {
                "problem_id": row[0].problem_id,
                **{
                    name: {
                        "units": each.units,
                        "found": each.found,
                        "share": each.share,
                        "nearest": each.nearest,
                        "nearest_found": each.nearest_found,
                    }
                    for name, each in zip(comparison.found, row, strict=True)
                },
            }
            for row in by_problem
        ],
        "bad_rows": [
            str(error)
            for account in (comparison.training_account, comparison.evaluated_account)
            for error in account.bad
        ],
    }


def print_tables(comparison: Comparison) -> None:
    """Print how much was found over all problems, then the problems with the largest share."""
    console = open_console()
    console.print(
        f"{comparison.evaluated} ({comparison.evaluated_account.good} problems) in "
        f"{comparison.training} ({comparison.training_account.good} problems)",
        highlight=False,
        markup=False,
    )
    console.print(_distributions(comparison))
    worst = _worst(comparison)
    if worst.row_count:
        console.print(worst)
    left_out = len(comparison.training_account.bad) + len(comparison.evaluated_account.bad)
    if left_out:
        console.print(f"left out: {left_out} bad rows (--json names them)", highlight=False)


def _distributions(comparison: Comparison) -> Table:
    table = Table(title="Found in the training set", caption="none … all: problems by their share")
    for column in ("", "problems", "found", "mean share", "over half", *BINS):
        table.add_column(column, justify="right" if column else "left")
    for name, found in comparison.found.items():
        row = distribution(found)
        mean = "–" if row.mean_share is None else f"{row.mean_share:.1%}"
        half = f"{row.over_half / row.problems:.1%}" if row.problems else "–"
        table.add_row(
            name, str(row.problems), f"{row.found} of {row.units}", mean, half, *map(str, row.bins)
        )
    return table


def _worst(comparison: Comparison) -> Table:
    """Return the sort key: share of n-grams, which are harder to share, then of telling lines."""
    lines, grams, _ = comparison.found
    rows = zip(comparison.found[lines], comparison.found[grams], strict=True)
    table = Table(title="Most of it found", caption="nearest: the training problem with most of it")
    for column in ("problem", lines, "nearest", grams, "nearest"):
        table.add_column(column)
    ranked = sorted(rows, key=lambda row: (row[1].share or 0, row[0].share or 0), reverse=True)
    for by_line, by_gram in ranked[:_NAMED]:
        if by_line.found or by_gram.found:
            cells = (by_line.problem_id, *_cells(by_line), *_cells(by_gram))
            table.add_row(*map(Text, cells))  # an id can look like markup
    return table


def _cells(found: Found) -> tuple[str, str]:
    if not found.units:
        return "none to find", ""
    nearest = f"{found.nearest} ({found.nearest_found})" if found.nearest else ""
    return f"{found.found} of {found.units}", nearest
