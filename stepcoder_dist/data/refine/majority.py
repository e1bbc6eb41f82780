"""`--repair majority`: correct expected outputs that the accepted solutions agree to be wrong.

The paper's authors corrected wrong outputs by hand. Here the distinct solutions of a row vote, all
that the source calls accepted. An answer becomes the expected output where at least `LEAST_VOTES`
give it, the file says another, and fewer solutions say anything else. Printing nothing and
returning None are no answers: they come from solutions that are run in the wrong way (a `main` that
nobody calls, a list changed in place), and a program that does nothing would pass.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_dist.data.refine.reading import Reading
from stepcoder_dist.errors import CheckerFault, ProblemError
from stepcoder_dist.ports import Sandbox
from stepcoder_dist.problems import python_values
from stepcoder_dist.records import Outcome, Problem, TestResult, Verdict

LEAST_VOTES = 3
MOST_VOTERS = 9
"""Distinct solutions of a row that vote."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """The readings, with corrected outputs where the votes say so, and what to note about it."""

    options: list[Reading]
    notes: dict[str, Any]


class Majority:
    """Asks the solutions of one row after the other."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._executor = sandbox

    async def repair(self, options: Sequence[Reading]) -> Repaired:
        """Correct the outputs of the readings. Raises `SandboxFault`."""
        untouched = Repaired(list(options), {})
        if len(options) < LEAST_VOTES:
            return untouched
        base = options[0].problem
        voters = [o for o in options if o.problem.tests.outputs == base.tests.outputs]
        if len(voters) < LEAST_VOTES or base.tests.checker or not base.tests.inputs:
            return untouched
        votes = _Votes(base, [o.problem for o in options if o not in voters])
        for voter in voters[:MOST_VOTERS]:
            verdict = await self._ask(voter.problem)
            if verdict is not None:
                votes.take(verdict)
            if votes.file_stands():
                return untouched
        corrections = votes.corrections()
        if not corrections:
            return untouched
        outputs = list(base.tests.outputs)
        noted = []
        for test, (value, count) in sorted(corrections.items()):
            noted.append(_note(test, outputs[test], value, count))
            outputs[test] = value
        return Repaired(
            [_corrected(o, outputs) if o in voters else o for o in options],
            {"mended_tests": noted},
        )

    async def _ask(self, problem: Problem) -> Verdict | None:
        """Return the verdict; None for tests that cannot be run, which the stage itself reports."""
        tests = dataclasses.replace(problem.tests, keep_answers=True)
        try:
            return await self._executor.judge(
                problem.reference, tests, problem_id=problem.problem_id
            )
        except (ProblemError, CheckerFault):
            return None


class _Votes:
    """For each test, how often each answer was given and how many solutions agree with the file."""

    def __init__(self, problem: Problem, otherwise: Sequence[Problem]) -> None:
        """`otherwise`: the row with its expected values read in other ways."""
        count = len(problem.tests.inputs)
        self._called = problem.tests.fn_name is not None
        self._readings = [
            {self._key(p.tests.outputs[test]) for p in otherwise} for test in range(count)
        ]
        self._for_file = [0] * count
        self._answers: list[Counter[str]] = [Counter() for _ in range(count)]
        self._values: dict[str, Any] = {}
        self._passed = 0

    def take(self, verdict: Verdict) -> None:
        self._passed += verdict.outcome is Outcome.PASSED
        for test, result in enumerate(verdict.tests[: len(self._answers)]):
            if result.outcome is Outcome.PASSED:
                self._for_file[test] += 1
            elif result.outcome is Outcome.WRONG_ANSWER:
                self._answer(test, result)

    def _answer(self, test: int, result: TestResult) -> None:
        if result.answer is None:
            return
        key = self._key(result.answer.value)
        if key is not None and key not in self._readings[test]:
            self._answers[test][key] += 1
            self._values.setdefault(key, result.answer.value)

    def _key(self, value: Any) -> str | None:
        """Return a key that answers share if they agree.

        None for a value that cannot be written.
        """
        if not self._called:  # white space is ignored, as by the judge
            return "\n".join(" ".join(line.split()) for line in value.strip().splitlines())
        try:
            return python_values.write(value)
        except ValueError:
            return None

    def file_stands(self) -> bool:
        """Return whether enough solutions passed every test to give the file its own majority."""
        return self._passed >= LEAST_VOTES

    def corrections(self) -> dict[int, tuple[Any, int]]:
        """Test → the answer that replaces the expected output, and how many gave it."""
        found = {}
        for test, answers in enumerate(self._answers):
            for key, count in answers.most_common(1):
                others = answers.total() - count + self._for_file[test]
                says = self._values[key] is not None and key != ""
                if says and count >= LEAST_VOTES and count > others:
                    found[test] = self._values[key], count
        return found


def _corrected(option: Reading, outputs: list[Any]) -> Reading:
    tests = dataclasses.replace(option.problem.tests, outputs=tuple(outputs))
    return dataclasses.replace(option, problem=dataclasses.replace(option.problem, tests=tests))


def _note(test: int, before: Any, after: Any, votes: int) -> dict[str, Any]:
    """Return one entry of `mended_tests`: `test` counts from 0, values are Python text."""
    return {"test": test, "was": _shown(before), "is": _shown(after), "votes": votes}


def _shown(value: Any) -> str:
    try:
        return python_values.write(value)
    except ValueError:
        return repr(value)
