"""More tests for one problem, and what its tests noticed before and after.

    mutants of the reference ── run on the tests at hand ── killed, or alive
    inputs of the shapes seen ─┬ the reference answers, twice the same, and so do other solutions
                               ├ lines of the reference that no test executed yet
                               └ mutants alive that answer differently
    a greedy choice of those inputs is added, the reference's answers as expected values

Inputs are tried in rounds, so that a problem whose mutants are all dead costs little, and mutants
meet few tests at first, so that one that never ends costs a limit or two.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_dist.augmentation.candidates import candidates
from stepcoder_dist.augmentation.expected_values import expected_value, is_json
from stepcoder_dist.augmentation.mutants import mutants
from stepcoder_dist.augmentation.selection import telling
from stepcoder_dist.augmentation.shapes import Reach
from stepcoder_dist.ports import Executor
from stepcoder_dist.records import Limits, Outcome, Problem, TestSuite, Verdict

_SLICES = (1, 4, 16)
"""Tests that a mutant meets at a time; the last number again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that one problem may cost, in counts: the same on every machine."""

    mutants: int = 40
    candidates: int = 64
    round: int = 16
    """Candidates that are tried together."""
    mutant_cpu_s: float = 0.25
    """Processor seconds of a test of a mutant, or"""
    mutant_slowness: float = 20.0
    """so many times what the reference's slowest test took; never over the problem's own limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmented:
    """A problem with the tests added, and what its tests notice of the same mutants."""

    problem: Problem
    added: int = 0
    mutants: int = 0
    """All that were made; those that behave as the reference does cannot be told apart and count
    as alive, so that no score can be expected to reach 1."""
    killed_before: int = 0
    killed_after: int = 0
    lines: int = 0
    """Lines of the reference with byte code; 0 where its coverage proves nothing."""
    lines_before: int = 0
    lines_after: int = 0
    why: str = ""
    """Why nothing was tried: an assert script, inputs of no known shape, a failing reference."""


async def augment(
    problem: Problem,
    executor: Executor,
    limit: int,
    seed: int,
    *,
    others: Sequence[str] = (),
    second: Executor | None = None,
    budget: Budget | None = None,
) -> Augmented:
    """Add tests until the problem has `limit` of them, or none says anything new.

    `others` are further accepted solutions: where there are some, an input counts only if all
    agree, and then may lie beyond the ranges seen. The reference's second run is made in `second`,
    best a sandbox with another hash seed. Raises `SandboxFault` and `ProblemError`.
    """
    if not problem.tests.inputs:
        return Augmented(problem=problem, why="an assert script is left as it is")
    reference = await executor.judge(problem.reference, problem.tests)
    if reference.outcome is not Outcome.PASSED:
        return Augmented(problem=problem, why=f"the reference fails: {reference.detail}")
    places = executor, second or executor
    work = _Augmenting(problem, places, seed, budget or Budget(), reference, others)
    return await work.run(limit)


class _Augmenting:
    def __init__(
        self,
        problem: Problem,
        places: tuple[Executor, Executor],
        seed: int,
        budget: Budget,
        reference: Verdict,
        others: Sequence[str],
    ) -> None:
        self._problem = problem
        self._executor, self._second = places
        self._budget = budget
        self._seed = seed
        self._others = [source for source in others if source != problem.reference]
        self._mutants = mutants(problem.reference, budget.mutants, seed)
        slowest_s = max(test.cpu_ms for test in reference.tests) / 1e3
        self._mutant_cpu_s = max(budget.mutant_cpu_s, budget.mutant_slowness * slowest_s)
        self._code_lines: frozenset[int] = frozenset()
        if reference.coverage_trusted and reference.structure is not None:
            self._code_lines = reference.structure.code_lines
        self._executed = self._code_lines & reference.executed_lines
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    async def run(self, limit: int) -> Augmented:
        tests = self._problem.tests
        self._others = await self._accepted()
        alive = await self._survivors()
        total, before = len(self._mutants), len(alive)
        lines_before = len(self._executed)
        reach = Reach.WIDER if self._others else Reach.SMALLER
        new: list[Any] = []
        if len(tests) < limit:
            new = candidates(tests, self._budget.candidates, self._seed, reach)
            if all(map(is_json, tests.inputs)):
                new = [one for one in new if is_json(one)]
        for start in range(0, len(new), self._budget.round):
            room = limit - len(tests) - len(self._inputs)
            if not room or not (alive or self._code_lines - self._executed):
                break
            alive = await self._round(new[start : start + self._budget.round], alive, room)
        return Augmented(
            problem=self._with_tests(),
            added=len(self._inputs),
            mutants=total,
            killed_before=total - before,
            killed_after=total - len(alive),
            lines=len(self._code_lines),
            lines_before=lines_before,
            lines_after=len(self._executed),
            why="" if new or len(tests) >= limit else "its inputs have no known shape",
        )

    async def _accepted(self) -> list[str]:
        """Those of the other solutions that pass the tests at hand."""
        tests = self._problem.tests
        verdicts = await self._all(self._others, tests)
        pairs = zip(self._others, verdicts, strict=True)
        return [source for source, verdict in pairs if verdict.outcome is Outcome.PASSED]

    async def _survivors(self) -> list[str]:
        """Mutants that pass the tests at hand; forgets those that the guest cannot compile."""
        alive, tests, at = list(self._mutants), self._problem.tests, 0
        sizes = list(_SLICES)
        while alive and at < len(tests):
            size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
            some = self._quickly(_part(tests, at, at + size))
            at += size
            verdicts = list(zip(alive, await self._all(alive, some), strict=True))
            for source, verdict in verdicts:
                if verdict.outcome is Outcome.COMPILE_ERROR:
                    self._mutants.remove(source)
            alive = [source for source, verdict in verdicts if verdict.outcome is Outcome.PASSED]
        return alive

    async def _round(self, new: list[Any], alive: list[str], room: int) -> list[str]:
        """Try some inputs; returns the mutants that live through those that are kept."""
        tests, lines = await self._answered(new)
        if not tests.inputs:
            return alive
        suite = self._quickly(tests)
        verdicts = await self._all(alive, suite)
        shown: list[frozenset[Any]] = []
        for place in range(len(tests.inputs)):
            killed = {
                source
                for source, verdict in zip(alive, verdicts, strict=True)
                if verdict.tests and verdict.tests[place].outcome is not Outcome.PASSED
            }
            shown.append(frozenset(killed) | lines[place])
        missing = frozenset(alive) | (self._code_lines - self._executed)
        chosen = telling(shown, missing, room)
        for place in chosen:
            self._inputs.append(tests.inputs[place])
            self._outputs.append(tests.outputs[place])
            self._executed |= lines[place]
        dead = frozenset().union(*(shown[place] for place in chosen))
        return [source for source in alive if source not in dead]

    async def _answered(self, inputs: list[Any]) -> tuple[TestSuite, list[frozenset[int]]]:
        """The inputs on which all solutions agree, and the lines that each executes."""
        old = self._problem.tests
        unknown = old.outputs[0]
        asked = dataclasses.replace(
            self._careful(),
            inputs=tuple(inputs),
            outputs=(unknown,) * len(inputs),
            checker="",
            keep_answers=True,
        )
        told = await self._executor.judge(self._problem.reference, asked)
        pairs = []
        for one, result in zip(inputs, told.tests, strict=True):
            value = result.answer and expected_value(result.answer.value, old.outputs)
            if value is not None:
                pairs.append((one, value))
        checked = self._of(pairs)
        if not pairs:
            return checked, []
        again = await self._second.judge(self._problem.reference, checked)
        verdicts = [again, *await self._all(self._others, checked)]
        agreed = [
            place
            for place in range(len(pairs))
            if all(v.tests and v.tests[place].outcome is Outcome.PASSED for v in verdicts)
        ]
        executed = [self._code_lines & again.tests[place].executed_lines for place in agreed]
        return self._of([pairs[place] for place in agreed]), executed

    def _of(self, pairs: list[tuple[Any, Any]]) -> TestSuite:
        return dataclasses.replace(
            self._careful(), inputs=tuple(i for i, _ in pairs), outputs=tuple(o for _, o in pairs)
        )

    def _careful(self) -> TestSuite:
        """Without the assert script, and with half of the time: no right program may be cut off
        for an input that took the reference nearly all of it."""
        tests = self._problem.tests
        most = tests.cpu_limit_s or Limits().cpu_s
        return dataclasses.replace(tests, test_code="", cpu_limit_s=most / 2)

    def _quickly(self, tests: TestSuite) -> TestSuite:
        most = self._problem.tests.cpu_limit_s or Limits().cpu_s
        return dataclasses.replace(tests, cpu_limit_s=min(most, self._mutant_cpu_s))

    async def _all(self, sources: list[str], tests: TestSuite) -> list[Verdict]:
        return await asyncio.gather(*(self._executor.judge(source, tests) for source in sources))

    def _with_tests(self) -> Problem:
        tests = self._problem.tests
        more = dataclasses.replace(
            tests,
            inputs=(*tests.inputs, *self._inputs),
            outputs=(*tests.outputs, *self._outputs),
        )
        return dataclasses.replace(self._problem, tests=more)


def _part(tests: TestSuite, start: int, end: int) -> TestSuite:
    """Some of the tests; the assert script is the last of them."""
    return dataclasses.replace(
        tests,
        inputs=tests.inputs[start:end],
        outputs=tests.outputs[start:end],
        test_code=tests.test_code if start <= len(tests.inputs) < end else "",
    )
