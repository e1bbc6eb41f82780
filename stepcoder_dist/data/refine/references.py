"""The stage "reference passes": keep the first solution that passes in two sandboxes.

The sandboxes have different hash seeds. A solution that passes in one and fails in the other is not
deterministic: its output depends on the order of a set, on an address, a clock or chance. A
solution whose text names a source of chance is run more often, since two runs can agree by luck.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from stepcoder_dist.data.refine.majority import Majority
from stepcoder_dist.data.refine.reading import Fits, Reading, readings, without_place
from stepcoder_dist.data.refine.stages import Candidate, Reason, Rejection
from stepcoder_dist.errors import CheckerFault, ProblemError
from stepcoder_dist.ports import Sandbox
from stepcoder_dist.problems.assert_script import parse
from stepcoder_dist.records import Outcome, Problem, Verdict

MOST_TIMEOUTS = 3
"""Solutions of one row that may time out: each costs as long as a test may take."""
ROUNDS_OF_CHANCE = 5
"""How often a solution that names a source of chance runs in each sandbox."""
_CHANCE = {"random", "secrets", "uuid", "urandom", "time", "datetime", "id", "hash", "getpid"}
_UNSURE = {Outcome.WRONG_ANSWER, Outcome.RUNTIME_ERROR}


class ReferencePasses:
    """Implements `stages.Stage`."""

    name = "reference passes"

    def __init__(
        self,
        first: Sandbox,
        second: Sandbox,
        *,
        majority: Majority | None = None,
        fits: Fits = lambda _: None,
    ) -> None:
        """`first` and `second` differ in their hash seed."""
        self._first, self._second = first, second
        self._majority = majority
        self._fits = fits

    async def apply(self, found: Candidate) -> Candidate | Rejection:
        options = readings(found.draft, self._fits)
        notes = dict(found.notes)
        if self._majority is not None:
            every = list(options)
            repaired = await self._majority.repair([r for r in every if isinstance(r, Reading)])
            options, notes = iter(repaired.options or every), notes | repaired.notes
        failures: list[Rejection] = []
        for option in options:
            if isinstance(option, Rejection):
                return option
            failure = await self._failure(option.problem)
            if failure is None:
                return dataclasses.replace(
                    found, problem=option.problem, normalised=option.normalised, notes=notes
                )
            failures.append(failure)
            if sum(f.reason is Reason.TIMES_OUT for f in failures) == MOST_TIMEOUTS:
                break
        first = failures[0]
        if len(failures) > 1:
            detail = f"{first.detail} (the first of {len(failures)} that fail)"
            return dataclasses.replace(first, detail=detail)
        return first

    def tally(self, rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
        mended = [row["problem_id"] for row in rows if "mended_tests" in row]
        return {} if self._majority is None else {"mended": len(mended), "mended_rows": mended}

    async def _failure(self, problem: Problem) -> Rejection | None:
        """Return the reason why the problem's reference cannot be used; None where it can."""
        try:
            return await self._verdicts(problem)
        except ProblemError as error:
            return Rejection(reason=Reason.BAD_TESTS, detail=without_place(error))
        except CheckerFault as fault:
            return Rejection(reason=Reason.BAD_TESTS, detail=f"its checker failed: {fault}")

    async def _verdicts(self, problem: Problem) -> Rejection | None:
        verdict = await _judged(problem, self._first)
        if verdict.outcome is not Outcome.PASSED:
            if verdict.outcome in _UNSURE:
                again = await _judged(problem, self._second)
                if again.outcome is Outcome.PASSED:
                    return _not_deterministic(verdict)
            reason = Reason.TIMES_OUT if verdict.outcome is Outcome.TIMEOUT else Reason.FAILS
            return Rejection(reason=reason, detail=_summary(verdict))
        rounds = ROUNDS_OF_CHANCE if _names_chance(problem.reference) else 1
        for number in range(2 * rounds - 1):
            place = self._first if number % 2 else self._second
            again = await _judged(problem, place)
            if again.outcome is not Outcome.PASSED:
                return _not_deterministic(again)
        return None


async def _judged(problem: Problem, place: Sandbox) -> Verdict:
    return await place.judge(problem.reference, problem.tests, problem_id=problem.problem_id)


def _not_deterministic(failing: Verdict) -> Rejection:
    return Rejection(
        reason=Reason.NOT_DETERMINISTIC, detail=f"passes in one run, in another {_summary(failing)}"
    )


def _summary(verdict: Verdict) -> str:
    outcome = verdict.outcome.value.replace("_", " ")
    return f"{outcome}: {verdict.detail}" if verdict.detail else outcome


def _names_chance(source: str) -> bool:
    try:
        nodes = list(ast.walk(parse(source)))
    except SyntaxError:
        return False
    names = {n.id for n in nodes if isinstance(n, ast.Name)}
    names |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    names |= {n.name.partition(".")[0] for n in nodes if isinstance(n, ast.alias)}
    return bool(names & _CHANCE)
