"""The answers of the accepted solutions to new inputs, and the inputs on which they agree.

* An input within what was seen is one that the statement allows. There the reference decides,
  unless most of the others say otherwise. Few tests accept wrong solutions too: if one dissenting
  solution were enough, it would veto every test that would find it out.
* Beyond what was seen right solutions may differ, and the reference alone does not show that. So
  all solutions that are left have to agree.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_dist.data.augment.expected_values import expected_value
from stepcoder_dist.data.augment.shapes import Reach
from stepcoder_dist.ports import Sandbox
from stepcoder_dist.records import Limits, Outcome, Problem, TestSuite, Verdict

FEWEST_AGREEING = {Reach.SEEN: 0, Reach.SMALLER: 1, Reach.WIDER: 2}
"""How many other solutions have to agree with the reference, where none dissents."""
FEWEST_AGAINST_DISSENT = 2
"""The same where some dissent; and at least as many as dissent, so that most agree."""
_LEAST_S = 0.5
_SLOWER = 20.0
"""A new input may take this many times the slowest test's processor time; at least `_LEAST_S`."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A possible new test."""

    input: Any
    output: Any
    lines: frozenset[int]
    """Lines of the reference that it executes."""
    refuted: frozenset[str]
    """Accepted solutions that fail it, and not only for time."""


class Solutions:
    """The reference and the other solutions that pass the present tests."""

    def __init__(
        self,
        problem: Problem,
        others: Sequence[str],
        first: Sandbox,
        second: Sandbox,
        *,
        slowest_s: float,
    ) -> None:
        """`slowest_s`: processor seconds of the reference's slowest test."""
        self._problem = problem
        self._first, self._second = first, second
        self.others = [source for source in others if source != problem.reference]
        """The other solutions that no test refuted yet."""
        self._usual_s = max(_LEAST_S, _SLOWER * slowest_s)

    async def leave_out_failing(self) -> None:
        """Keep those of the others that pass the present tests."""
        verdicts = await self._others_on(self._problem.tests)
        pairs = zip(self.others, verdicts, strict=True)
        self.others = [source for source, v in pairs if v.outcome is Outcome.PASSED]

    def can_reach(self, reach: Reach) -> bool:
        return len(self.others) >= FEWEST_AGREEING[reach]

    async def answer(self, inputs: Sequence[Any], reach: Reach) -> list[Answered]:
        """Return the inputs that have one answer. Raises `SandboxFault`."""
        pairs = await self._answers(inputs)
        if not pairs:
            return []
        tests = dataclasses.replace(
            self._careful(), inputs=tuple(i for i, _ in pairs), outputs=tuple(o for _, o in pairs)
        )
        name = self._problem.problem_id
        again = await self._second.judge(self._problem.reference, tests, problem_id=name)
        verdicts = await self._others_on(tests)
        found = []
        for place, (one, output) in enumerate(pairs):
            judged = list(zip(self.others, verdicts, strict=True))
            dissenting = [(source, v) for source, v in judged if not _passes(v, place)]
            # the time is less than the problem allows: a solution that needs more is not wrong yet
            wrong = frozenset(source for source, v in dissenting if not _timed_out(v, place))
            if _passes(again, place) and self._decided(len(dissenting), reach):
                found.append(Answered(one, output, again.tests[place].executed_lines, wrong))
        return found

    def _decided(self, dissenting: int, reach: Reach) -> bool:
        agreeing = len(self.others) - dissenting
        if not dissenting:
            return agreeing >= FEWEST_AGREEING[reach]
        return reach is Reach.SEEN and agreeing >= max(FEWEST_AGAINST_DISSENT, dissenting)

    async def _answers(self, inputs: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Return the inputs with the reference's answer, where that can be an expected value."""
        expected = self._problem.tests.outputs
        asked = dataclasses.replace(
            self._careful(),
            inputs=tuple(inputs),
            outputs=(expected[0],) * len(inputs),  # these are not compared
            checker="",
            keep_answers=True,
        )
        name = self._problem.problem_id
        verdict = await self._first.judge(self._problem.reference, asked, problem_id=name)
        pairs = []
        for one, result in zip(inputs, verdict.tests, strict=True):
            if result.answer is not None:
                value = expected_value(result.answer.value, expected)
                if value is not None:
                    pairs.append((one, value))
        return pairs

    def _careful(self) -> TestSuite:
        """Return the tests without the assert script, and with at most half of the time.

        No right program may be cut off for an input that took the reference nearly all of its time.
        There is less time where the present tests take less: beyond what was seen some solutions
        never end.
        """
        tests = self._problem.tests
        most = (tests.cpu_limit_s or Limits().cpu_s) / 2
        return dataclasses.replace(tests, test_code="", cpu_limit_s=min(most, self._usual_s))

    async def _others_on(self, tests: TestSuite) -> list[Verdict]:
        places = (self._first, self._second)
        return await judge_by_turns(places, self.others, tests, self._problem.problem_id)


async def judge_by_turns(
    places: Sequence[Sandbox], sources: Sequence[str], tests: TestSuite, problem_id: str
) -> list[Verdict]:
    """Judge programs of one problem, in each place its share, so that no container waits."""
    verdicts = (
        places[number % len(places)].judge(source, tests, problem_id=problem_id)
        for number, source in enumerate(sources)
    )
    return await asyncio.gather(*verdicts)


def _passes(verdict: Verdict, place: int) -> bool:
    return bool(verdict.tests) and verdict.tests[place].outcome is Outcome.PASSED


def _timed_out(verdict: Verdict, place: int) -> bool:
    return bool(verdict.tests) and verdict.tests[place].outcome is Outcome.TIMEOUT
