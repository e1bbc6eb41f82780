"""What running a set's references on their own tests says about the tests.

A reference that fails has wrong tests, or is wrong itself. A line of it that no test executes is
code that FGO would mask in every program like it, and that no reward will ever check.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any

from stepcoder_dist.errors import CheckerFault, SandboxFault, UserError
from stepcoder_dist.host.in_order import in_order
from stepcoder_dist.method.coverage_mask import kept_lines
from stepcoder_dist.ports import Sandbox
from stepcoder_dist.problems.levels import ordered
from stepcoder_dist.records import Outcome, Problem, Verdict

MOST_NAMED = 10_000
"""Problems of each kind whose names are kept: some megabytes at most, whatever the set's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRun:
    """One reference on the tests of its problem."""

    problem_id: str
    level: str
    outcome: str
    """An `Outcome`, `sandbox_fault`, or `invalid` (tests or a checker that cannot be used)."""
    tests_passed: int = 0
    tests_total: int = 0
    executed_share: float | None = None
    """Share of the lines with code whose statement some test executed; None: unknown."""
    unexecuted_lines: tuple[int, ...] = ()
    """1-based lines with code that no test executed, ascending."""
    detail: str = ""

    @classmethod
    def of(cls, problem: Problem, verdict: Verdict) -> ReferenceRun:
        share, missed = None, frozenset[int]()
        structure = verdict.structure
        if structure is not None and verdict.coverage_trusted and structure.code_lines:
            missed = structure.code_lines - kept_lines(structure, verdict.executed_lines)
            share = 1 - len(missed) / len(structure.code_lines)
        return cls(
            problem_id=problem.problem_id,
            level=problem.level,
            outcome=verdict.outcome.value,
            tests_passed=verdict.tests_passed,
            tests_total=len(problem.tests),
            executed_share=share,
            unexecuted_lines=tuple(sorted(missed)),
            detail=verdict.detail,
        )

    @classmethod
    def without_verdict(cls, problem: Problem, outcome: str, error: Exception) -> ReferenceRun:
        return cls(
            problem_id=problem.problem_id,
            level=problem.level,
            outcome=outcome,
            tests_total=len(problem.tests),
            detail=str(error),
        )

    @property
    def passed(self) -> bool:
        return self.outcome == Outcome.PASSED

    def summary(self) -> str:
        """Return the run as one line of text."""
        share = self.executed_share
        covered = "coverage unknown" if share is None else f"{share:.0%} of its lines executed"
        detail = f": {self.detail}" if self.detail else ""
        return (
            f"the reference: {self.outcome.replace('_', ' ')}, {self.tests_passed} of "
            f"{self.tests_total} tests passed, {covered}{detail}"
        )


async def reference_runs(
    problems: Iterable[Problem], sandbox: Sandbox, *, in_flight: int
) -> AsyncIterator[ReferenceRun]:
    """Run every reference there is; yield in the order of the problems.

    Only the problems in flight are held.
    """
    with_reference = (problem for problem in problems if problem.reference)
    runs = in_order(with_reference, lambda each: _run(each, sandbox), in_flight=in_flight)
    async with aclosing(runs) as done:
        async for _, run in done:
            yield run


async def _run(problem: Problem, sandbox: Sandbox) -> ReferenceRun:
    try:
        verdict = await sandbox.judge(
            problem.reference, problem.tests, problem_id=problem.problem_id
        )
    except (UserError, CheckerFault) as error:
        return ReferenceRun.without_verdict(problem, "invalid", error)
    except SandboxFault as error:
        return ReferenceRun.without_verdict(problem, "sandbox_fault", error)
    return ReferenceRun.of(problem, verdict)


@dataclass(slots=True)
class LevelRuns:
    """The references of one level."""

    run: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    with_coverage: int = 0
    executed_shares: float = 0.0
    """Sum of the executed shares over the references whose coverage is known."""
    uncovered: int = 0
    """Number of references with a line that no test executes."""

    @property
    def executed_share(self) -> float | None:
        """Mean executed share over references; None where no coverage is known."""
        return self.executed_shares / self.with_coverage if self.with_coverage else None

    def as_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "outcomes": dict(self.outcomes),
            "executed_share": self.executed_share,
            "with_coverage": self.with_coverage,
            "uncovered": self.uncovered,
        }


class SetRuns:
    """A set's references by level, as their runs are added; exceptions by name."""

    def __init__(self) -> None:
        self._levels: dict[str, LevelRuns] = {}
        self.all = LevelRuns()
        self.failed: list[ReferenceRun] = []
        """The first `MOST_NAMED` references that did not pass, in the set's order."""
        self.uncovered: list[ReferenceRun] = []
        """The first `MOST_NAMED` references that passed with lines that no test executes."""

    def add(self, run: ReferenceRun) -> None:
        for level in (self._levels.setdefault(run.level, LevelRuns()), self.all):
            level.run += 1
            level.outcomes[run.outcome] += 1
            if run.executed_share is not None:
                level.with_coverage += 1
                level.executed_shares += run.executed_share
                level.uncovered += bool(run.unexecuted_lines)
        if not run.passed and len(self.failed) < MOST_NAMED:
            self.failed.append(run)
        elif run.passed and run.unexecuted_lines and len(self.uncovered) < MOST_NAMED:
            self.uncovered.append(run)

    def levels(self) -> dict[str, LevelRuns]:
        """Return the levels that occur, easiest first, and `all`."""
        found = {name: self._levels[name] for name in ordered(self._levels)}
        return {**found, "all": self.all}

    def as_json(self) -> dict[str, Any]:
        return {
            "levels": {name: level.as_json() for name, level in self.levels().items()},
            "failed": [asdict(run) for run in self.failed],
            "uncovered": [
                {"problem_id": run.problem_id, "unexecuted_lines": run.unexecuted_lines}
                for run in self.uncovered
            ],
        }
