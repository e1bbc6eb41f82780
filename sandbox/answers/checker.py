"""A checker of the user's own: says which answers are right where a comparison cannot.

It is a Python source that defines `check(input, expected, actual)` and returns True or False, or
`(False, "why")`. It runs in the same sandbox as programs do, under the run's limits, but after the
program's process has ended and everything of it is swept away: a program sees neither the checker
nor what is expected, and reaches the checker by its answer alone. A checker that raises, runs over
a limit or returns anything else is a fault of the checker: never a verdict.

    input      the test's standard input, or its list of arguments
    expected   the test's output, or expected return value
    actual     what the program wrote (text; U+FFFD for bytes that are no UTF-8), or returned
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.answers.checks import asks_for_large_stacks
from sandbox.endings import ending
from sandbox.guest import layout, plain_data
from sandbox.guest_link import SPARE_INPUT_BYTES, Runner, RunReport
from sandbox.orders import order_for, pack_program
from stepcoder_dist.errors import CheckerFault, ProblemError
from stepcoder_dist.records import Limits

FUNCTION = "check"
_CASES_PER_CHILD = 64


@dataclass(frozen=True, slots=True)
class Case:
    """One answer to check."""

    test: int
    """Its place among the problem's tests."""
    input: Any
    expected: Any
    actual: Any


@dataclass(frozen=True, slots=True)
class Opinion:
    right: bool
    why: str = ""


def opinions(
    run: Runner,
    source: str,
    cases: Sequence[Case],
    limits: Limits,
) -> dict[int, Opinion]:
    """Check every case; by test. Cases share a child, and one that fails there gets its own.

    Raises `CheckerFault`, `SandboxFault`, and `ProblemError` for a checker that does not compile.
    """
    found: dict[int, Opinion] = {}
    packed = {case.test: _packed(case) for case in cases}
    for test in [test for test, data in packed.items() if plain_data.OPAQUE in data]:
        found[test] = Opinion(right=False, why="the return value holds an object that is no data")
    while left := [case for case in cases if case.test not in found]:
        together = _together(left, packed)
        blobs = [pack_program(source, "", FUNCTION, describe="", share=len(together) > 1)]
        blobs += [packed[case.test] for case in together]
        order = order_for(limits, blobs, large_stacks=asks_for_large_stacks(source))
        report = run(order, blobs)
        _check_compiled(report)
        for place, case in enumerate(together):
            opinion = _opinion(report, place, limits)
            if isinstance(opinion, str):
                if place:
                    break  # alone in a child it may do better, and there it counts
                raise CheckerFault(f"the checker failed on test {case.test + 1}: {opinion}")
            found[case.test] = opinion
    return found


def _packed(case: Case) -> bytes:
    try:
        return plain_data.encode([case.input, case.expected, case.actual])
    except (plain_data.Unreadable, plain_data.TooLarge):
        raise ProblemError(
            f"test {case.test + 1} is too deep or too large for its checker"
        ) from None


def _together(cases: list[Case], packed: dict[int, bytes]) -> list[Case]:
    """As many as one child can check: their inputs are in memory as long as it lives."""
    left = SPARE_INPUT_BYTES
    for place, case in enumerate(cases[:_CASES_PER_CHILD]):
        left -= len(packed[case.test])
        if left < 0:
            return cases[: max(1, place)]
    return cases[:_CASES_PER_CHILD]


def _check_compiled(report: RunReport) -> None:
    if report.structure is None:
        if report.phase in (layout.Phase.STARTING, layout.Phase.COMPILING):
            raise CheckerFault("the checker never began: its child was ended before")
        return
    description = json.loads(report.structure)
    if "error" in description:
        raise ProblemError(f"its checker does not compile: {description['error']}")


def _opinion(report: RunReport, place: int, limits: Limits) -> Opinion | str:
    """Return what the checker said of the case at this place, or what went wrong."""
    if place and not report.records[place].begun:
        return "it did not come so far"
    ended = ending(report, place, limits, called=True)
    if ended.outcome is not None:
        return ended.detail or ended.outcome.value
    try:
        said = plain_data.decode(report.answers[place] or b"")
    except (plain_data.Unreadable, plain_data.TooLarge):
        return "what it returned cannot be read"
    right, why = said if isinstance(said, tuple | list) and len(said) == 2 else (said, "")  # noqa: PLR2004 - a pair
    if not isinstance(right, bool) or not isinstance(why, str):
        return "it returned neither True nor False nor a pair of that and a text"
    return Opinion(right, why[:200])
