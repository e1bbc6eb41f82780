"""From problem sets to `Problem` records: rows are read, brought into one shape and checked.

    rows (files.py) ─ Draft (formats/) ─ Problem: tests settled (tests.py), reference runnable

`load` reads a complete set, `stream` one problem at a time in bounded memory. `each` yields bad
rows as errors instead of raising them. Nothing of a problem is run here.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

from stepcoder_dist.errors import ProblemError, RowError
from stepcoder_dist.problems import ladder, reference_code
from stepcoder_dist.problems.files import FIX, rows
from stepcoder_dist.problems.formats import (
    Draft,
    draft,
    problem_id,
)
from stepcoder_dist.problems.levels import level_of
from stepcoder_dist.problems.tests import one_element_lists, suite
from stepcoder_dist.records import Problem, TestSuite

_NAMED_IN_ERROR = 5
Item = TypeVar("Item")


@dataclass(slots=True)
class Account:
    """The result of each row of a set; filled while `stream` runs."""

    good: int = 0
    bad: list[ProblemError] = field(default_factory=list)
    """An error for each row that was left out, in the file's order."""
    unsettled: list[str] = field(default_factory=list)
    """Ids of problems whose expected values are all one-element lists, where only running a
    solution can show whether APPS wrapped them; `rewrapped` gives the other reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemSet(Sequence[Problem]):
    """The usable problems of a set, in its order, and the account of its rows."""

    problems: tuple[Problem, ...]
    account: Account

    def __len__(self) -> int:
        return len(self.problems)

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Problem, ...]: ...
    def __getitem__(self, index: int | slice) -> Problem | tuple[Problem, ...]:
        return self.problems[index]


def load(spec: str | Path, *, max_bad_share: float = 0.0, limit: int | None = None) -> ProblemSet:
    """Read a set into memory; see `stream`."""
    account = Account()
    problems = stream(spec, max_bad_share=max_bad_share, limit=limit, account=account)
    return ProblemSet(problems=tuple(problems), account=account)


def stream(
    spec: str | Path,
    *,
    max_bad_share: float = 0.0,
    limit: int | None = None,
    account: Account | None = None,
) -> Iterator[Problem]:
    """Yield the problems of a set (`source.py`) or of `ladder:<split>`, one at a time.

    With `max_bad_share` 0 the first bad row raises `ProblemError`. Otherwise bad rows are left
    out and put into `account`, and the error comes after the last row if their share of all rows
    read is larger. `limit` stops after that many problems.
    """
    account = Account() if account is None else account
    items = each(spec, account=account)
    yield from _admitted(items, str(spec), max_bad_share, account, limit)


def solutions(
    spec: str | Path, *, max_bad_share: float = 0.0, account: Account | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Yield the id and every solution of each row, unchanged; tests are not looked at.

    `max_bad_share` and `account` as in `stream`.
    """
    account = Account() if account is None else account
    for found in _admitted(drafts(spec), str(spec), max_bad_share, account, None):
        yield found.problem_id, found.solutions


def drafts(spec: str | Path) -> Iterator[Draft | ProblemError]:
    """Yield every row's fields unchanged, even of a row that cannot be judged."""
    if str(spec).startswith(ladder.PREFIX):
        for p in ladder.from_spec(str(spec)):
            yield Draft(problem_id=p.problem_id, statement=p.statement, solutions=[p.reference])
        return
    for item in rows(spec):
        if isinstance(item, ProblemError):
            yield item
            continue
        where, row = item
        try:
            yield draft(row, where)
        except RowError as error:
            yield _error(where, problem_id(row, where), str(error))


def _admitted(
    items: Iterator[Item | ProblemError],
    spec: str,
    max_bad_share: float,
    account: Account,
    limit: int | None,
) -> Iterator[Item]:
    """Yield the good items; a bad one goes into the account, or raises."""
    for item in items:
        if not isinstance(item, ProblemError):
            account.good += 1
            yield item
            if account.good == limit:
                break
        elif max_bad_share <= 0:
            raise item
        else:
            account.bad.append(item)
    total = account.good + len(account.bad)
    if not total:
        raise ProblemError(f"{spec}: holds no problems; give a set with at least one")
    if len(account.bad) > max_bad_share * total or not account.good:
        named = "; ".join(str(e).removesuffix(f"; {FIX}") for e in account.bad[:_NAMED_IN_ERROR])
        more = len(account.bad) - _NAMED_IN_ERROR
        tolerated = f", more than the tolerated share of {max_bad_share:g}" if account.good else ""
        raise ProblemError(
            f"{spec}: {len(account.bad)} of {total} rows are bad{tolerated}: {named}"
            f"{f'; and {more} more' if more > 0 else ''}"
        )


def each(spec: str | Path, *, account: Account | None = None) -> Iterator[Problem | ProblemError]:
    """Yield every row as a `Problem`, or as the `ProblemError` that says what is wrong with it.

    Raises `ProblemError` only where the rest of the file cannot be read.
    """
    if str(spec).startswith(ladder.PREFIX):
        yield from ladder.from_spec(str(spec))
        return
    places: dict[str, str] = {}
    for item in rows(spec):
        if isinstance(item, ProblemError):
            yield item
            continue
        where, row = item
        try:
            problem, settled = _read(row, where)
        except ProblemError as error:
            # a new error: the traceback of the raised one holds the complete row
            yield ProblemError(str(error))
            continue
        first = places.setdefault(problem.problem_id, where)
        if first != where:
            yield _error(where, problem.problem_id, f"the id is used at {first} already")
            continue
        if account is not None and not settled:
            account.unsettled.append(problem.problem_id)
        yield problem


def problem_from_row(row: dict[str, Any], where: str) -> Problem:
    """Read one row of any known format. Raises `ProblemError`, one line with place and id."""
    return _read(row, where)[0]


def rewrapped(problem: Problem) -> Problem:
    """Return the problem with the other reading of one-element lists as expected values."""
    outputs = problem.tests.outputs
    other = (
        tuple(o[0] for o in outputs) if one_element_lists(outputs) else tuple([o] for o in outputs)
    )
    return dataclasses.replace(problem, tests=dataclasses.replace(problem.tests, outputs=other))


def _error(where: str, name: str | None, what: str) -> ProblemError:
    shown = name if name is None or name.isprintable() else reprlib.repr(name)[1:-1]
    named = f' (problem "{shown}")' if shown else ""
    return ProblemError(f"{where}: {what}{named}; {FIX}")


def problem_of(found: Draft, reference: str) -> tuple[Problem, bool]:
    """Make the problem with this reference, which Python compiles or which is empty.

    The flag is False where only running a solution could settle how its expected values are to be
    read (`rewrapped`). Raises `RowError`.
    """
    tests, settled = suite(found, reference)
    for name in ("statement", "starter_code"):
        _refuse_half_pairs(name, getattr(found, name))
    return Problem(
        problem_id=found.problem_id,
        statement=found.statement.replace("\r\n", "\n"),
        reference=_runnable(reference, found, tests),
        level=level_of(found.level),
        tests=tests,
        starter_code=found.starter_code.replace("\r\n", "\n"),
    ), settled


def _refuse_half_pairs(name: str, text: str) -> None:
    """Raise `RowError` for half a surrogate pair, which JSON can hold and no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RowError(f"its {name} has half a surrogate pair, which is no character") from None


def _read(row: Any, where: str) -> tuple[Problem, bool]:
    """Return the problem, and whether the reading of its expected values is settled."""
    try:
        found = draft(row, where)
        return problem_of(found, _reference(found))
    except RowError as error:
        raise _error(where, problem_id(row, where), str(error)) from None


def _reference(found: Draft) -> str:
    """Return the first solution that Python compiles; empty where the row has none."""
    solutions = [s.replace("\r\n", "\n") for s in found.solutions if s.strip()]
    complaints = []
    for solution in solutions:
        complaint = reference_code.complaint(solution)
        if complaint is None:
            return solution
        complaints.append(complaint)
    if not complaints:
        return ""
    which = "the reference" if len(complaints) == 1 else f"the first of {len(complaints)} solutions"
    raise RowError(f"{which} does not parse: {complaints[0]}")


def _runnable(reference: str, found: Draft, tests: TestSuite) -> str:
    if not (found.apps and reference and tests.inputs):
        return reference
    if tests.fn_name is None:
        return reference_code.called_wrapper(reference, found.fn_name or None)
    return reference_code.methods_in_class(reference, tests.fn_name)
