"""Adding tests to one problem, and counting what its tests noticed before and after.

    mutants of the reference ── run on the present tests ── killed, or alive
    inputs of the shapes seen ─┬ the reference answers, twice the same; other solutions agree
                               ├ lines of the reference that no test executed yet
                               ├ mutants alive that answer differently
                               └ accepted solutions that answer differently
    a greedy choice of those inputs is added, the reference's answers as expected values

Inputs are tried in rounds, so that a problem whose mutants are all dead costs little, and mutants
meet few tests at first, so that one that never ends costs a limit or two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_dist.data.augment.agreement import Answered, Solutions, judge_by_turns
from stepcoder_dist.data.augment.candidates import candidates
from stepcoder_dist.data.augment.expected_values import is_json
from stepcoder_dist.data.augment.mutants import mutants
from stepcoder_dist.data.augment.selection import covering
from stepcoder_dist.data.augment.shapes import Reach
from stepcoder_dist.ports import Sandbox
from stepcoder_dist.records import Limits, Outcome, Problem, TestSuite, Verdict

_SLICES = (1, 4, 16)
"""Tests that a mutant meets at a time; the last number repeats. A dead mutant meets no more tests.

So one that never ends costs a limit or two, and its result on the other tests stays unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The limits of one problem's cost, in counts, so that they are the same on every machine."""

    mutants: int = 40
    candidates: int = 64
    round: int = 16
    """Candidates that are tried together."""
    mutant_cpu_s: float = 0.25
    """Processor seconds of a test of a mutant; it may take longer by `mutant_slowness`."""
    mutant_slowness: float = 20.0
    """A mutant may take this many times the reference's slowest test, within the limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmented:
    """A problem with the added tests, and how many mutants its tests notice before and after."""

    problem: Problem
    added: int = 0
    mutants: int = 0
    """All mutants that were made. Those that behave as the reference cannot be noticed and count
    as alive, so no score can be expected to reach 1."""
    killed_before: int = 0
    killed_after: int = 0
    lines: int = 0
    """Lines of the reference with byte code; 0 where its coverage proves nothing."""
    lines_before: int = 0
    lines_after: int = 0
    others: int = 0
    """Further solutions that pass the present tests."""
    refuted: int = 0
    """Those of `others` that fail an added test."""
    why: str = ""
    """The reason why nothing was tried: an assert script, unknown inputs, a failing reference."""


async def augment(
    problem: Problem,
    sandbox: Sandbox,
    limit: int,
    seed: int,
    *,
    others: Sequence[str] = (),
    second: Sandbox | None = None,
    budget: Budget | None = None,
) -> Augmented:
    """Add tests until the problem has `limit` of them, or no other test notices anything new.

    `others` are further accepted solutions, which are asked what is right (`agreement.py`). The
    reference runs a second time in `second`, preferably a sandbox with another hash seed. Raises
    `SandboxFault`, and `ProblemError` for tests that cannot be judged.
    """
    if not problem.tests.inputs:
        return Augmented(problem=problem, why="an assert script is left as it is")
    reference = await sandbox.judge(problem.reference, problem.tests, problem_id=problem.problem_id)
    if reference.outcome is not Outcome.PASSED:
        return Augmented(problem=problem, why=f"the reference fails: {reference.detail}")
    slowest_s = max(test.cpu_ms for test in reference.tests) / 1e3
    places = sandbox, second or sandbox
    solutions = Solutions(problem, others, *places, slowest_s=slowest_s)
    await solutions.leave_out_failing()
    work = _Augmenting(problem, places, budget or Budget(), seed, reference, solutions)
    return await work.run(limit)


class _Augmenting:
    def __init__(
        self,
        problem: Problem,
        places: tuple[Sandbox, Sandbox],
        budget: Budget,
        seed: int,
        reference: Verdict,
        solutions: Solutions,
    ) -> None:
        self._problem = problem
        self._places = places
        self._budget = budget
        self._seed = seed
        self._solutions = solutions
        self._mutants = mutants(problem.reference, budget.mutants, seed)
        slowest_s = max(test.cpu_ms for test in reference.tests) / 1e3
        self._mutant_cpu_s = max(budget.mutant_cpu_s, budget.mutant_slowness * slowest_s)
        self._code_lines: frozenset[int] = frozenset()
        if reference.coverage_trusted and reference.structure is not None:
            self._code_lines = reference.structure.code_lines
        self._executed = self._code_lines & reference.executed_lines
        self._kept: list[Answered] = []

    async def run(self, limit: int) -> Augmented:
        tests = self._problem.tests
        killed = await self._killed(self._problem.tests, self._mutants)
        alive = [source for source in self._mutants if source not in killed]
        total, before = len(self._mutants), len(alive)
        others, lines_before = len(self._solutions.others), len(self._executed)
        tried = 0
        for reach, some in self._rounds() if len(tests) < limit else ():
            tried += len(some)
            room = limit - len(tests) - len(self._kept)
            if not room or not (alive or self._code_lines - self._executed):
                break
            alive = await self._round(some, reach, alive, room)
        return Augmented(
            problem=self._with_tests(),
            added=len(self._kept),
            mutants=total,
            killed_before=total - before,
            killed_after=total - len(alive),
            lines=len(self._code_lines),
            lines_before=lines_before,
            lines_after=len(self._executed),
            others=others,
            refuted=others - len(self._solutions.others),
            why="" if tried or len(tests) >= limit else "no new inputs could be made",
        )

    def _rounds(self) -> Iterator[tuple[Reach, list[Any]]]:
        """Yield inputs to try together: near ones first, farther ones if solutions can decide."""
        known: set[str] = set()
        tests, budget = self._problem.tests, self._budget
        for reach in Reach:
            if not self._solutions.can_reach(reach):
                return
            made = candidates(tests, budget.candidates, self._seed, reach)
            new = [one for one in made if repr(one) not in known]
            known.update(map(repr, new))
            if all(map(is_json, tests.inputs)):
                new = [one for one in new if is_json(one)]
            for start in range(0, len(new), budget.round):
                yield reach, new[start : start + budget.round]

    async def _round(
        self, inputs: list[Any], reach: Reach, alive: list[str], room: int
    ) -> list[str]:
        """Try some inputs; return the mutants that pass all that are kept."""
        answered = await self._solutions.answer(inputs, reach)
        if not answered:
            return alive
        killed = await self._killed(_with(self._problem.tests, answered), alive)
        shown = [
            one.lines | one.refuted | {source for source, by in killed.items() if place in by}
            for place, one in enumerate(answered)
        ]
        missing = {*alive, *self._solutions.others, *(self._code_lines - self._executed)}
        chosen = covering(shown, missing, room)
        self._kept += [answered[place] for place in chosen]
        noticed = frozenset().union(*(shown[place] for place in chosen))
        self._executed |= self._code_lines & noticed
        self._solutions.others = [
            source for source in self._solutions.others if source not in noticed
        ]
        return [source for source in alive if source not in noticed]

    async def _killed(self, tests: TestSuite, alive: Sequence[str]) -> dict[str, set[int]]:
        """Return the mutants that do not pass, each with tests of its last slice that notice it.

        Mutants that the guest cannot compile are forgotten.
        """
        killed: dict[str, set[int]] = {}
        left, sizes, at = list(alive), list(_SLICES), 0
        while left and at < len(tests):
            size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
            verdicts = await self._on(_part(tests, at, at + size), left)
            for source, verdict in zip(left, verdicts, strict=True):
                failed = [r.outcome is not Outcome.PASSED for r in verdict.tests]
                if any(failed):
                    killed[source] = {at + place for place, one in enumerate(failed) if one}
                elif verdict.outcome is Outcome.COMPILE_ERROR:
                    self._mutants.remove(source)
                    killed[source] = set()
            left = [source for source in left if source not in killed]
            at += size
        return killed

    async def _on(self, tests: TestSuite, mutated: Sequence[str]) -> list[Verdict]:
        most = self._problem.tests.cpu_limit_s or Limits().cpu_s
        quickly = dataclasses.replace(tests, cpu_limit_s=min(most, self._mutant_cpu_s))
        return await judge_by_turns(self._places, mutated, quickly, self._problem.problem_id)

    def _with_tests(self) -> Problem:
        tests = self._problem.tests
        new = _with(tests, self._kept)
        inputs, outputs = (*tests.inputs, *new.inputs), (*tests.outputs, *new.outputs)
        more = dataclasses.replace(tests, inputs=inputs, outputs=outputs)
        return dataclasses.replace(self._problem, tests=more)


def _with(tests: TestSuite, answered: Sequence[Answered]) -> TestSuite:
    """Return the suite with these tests instead of its own."""
    return dataclasses.replace(
        tests,
        inputs=tuple(one.input for one in answered),
        outputs=tuple(one.output for one in answered),
        test_code="",
    )


def _part(tests: TestSuite, start: int, end: int) -> TestSuite:
    """Return the suite with some of its tests; the assert script is the last of them."""
    return dataclasses.replace(
        tests,
        inputs=tests.inputs[start:end],
        outputs=tests.outputs[start:end],
        test_code=tests.test_code if start <= len(tests.inputs) < end else "",
    )
