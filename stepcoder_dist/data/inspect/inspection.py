"""What `stepcoder data inspect` says about a set: its problems in numbers, by level and kind.

Problems come one at a time and are not kept. What is kept is how often each value of each number
occurred, so a set may be larger than the memory. Nothing is run here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stepcoder_dist.method.conditionals import Stages, conditional_lines
from stepcoder_dist.problems.levels import ordered
from stepcoder_dist.records import Problem, TestSuite
from stepcoder_dist.text.program import line_starts

KINDS = ("stdin", "call", "script")
REFERENCE_ONLY = ("reference_lines", "reference_tokens")
"""Numbers that a problem without a reference does not have."""


def kind(tests: TestSuite) -> str:
    """Return how a problem is tested: one of `KINDS`."""
    if tests.test_code:
        return "script"
    return "stdin" if tests.fn_name is None else "call"


def numbers(problem: Problem, count_tokens: Callable[[str], int] | None) -> dict[str, int]:
    """Return the numbers of one problem, by the names of the table's rows."""
    stages = Stages(conditional_lines(problem.reference))
    found = {
        "tests": len(problem.tests),
        "conditionals": len(stages.conditional_lines),
        "stages": stages.stages,
        "statement_chars": len(problem.statement),
        "reference_lines": len(line_starts(problem.reference)),
    }
    if count_tokens is not None:
        found["statement_tokens"] = count_tokens(problem.statement)
        found["reference_tokens"] = count_tokens(problem.reference)
    if not problem.reference:
        found = {name: value for name, value in found.items() if name not in REFERENCE_ONLY}
    return found


@dataclass(slots=True)
class Spread:
    """An integer over problems, as a count for each of its values."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, value: int) -> None:
        self.counts[value] += 1

    def __str__(self) -> str:
        if not self.counts:
            return "–"
        least, largest = min(self.counts), max(self.counts)
        if least == largest:
            return str(least)
        return f"{self.median:g} ({least}–{largest})"

    @property
    def mean(self) -> float:
        """The mean; nan without a value."""
        total = self.counts.total()
        return sum(value * n for value, n in self.counts.items()) / total if total else math.nan

    @property
    def median(self) -> float:
        """The median, between two middle values their mean; nan without a value."""
        total = self.counts.total()
        return (self._ranked((total - 1) // 2) + self._ranked(total // 2)) / 2

    def _ranked(self, rank: int) -> float:
        """Return the value at a 0-based rank."""
        for value in sorted(self.counts):
            rank -= self.counts[value]
            if rank < 0:
                return value
        return math.nan

    def as_json(self) -> dict[str, float] | None:
        """Return the spread as JSON; None without a value."""
        if not self.counts:
            return None
        return {
            "least": min(self.counts),
            "median": self.median,
            "mean": self.mean,
            "largest": max(self.counts),
        }


@dataclass(slots=True)
class LevelSummary:
    """One level's problems in numbers."""

    problems: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    without_reference: int = 0
    spreads: dict[str, Spread] = field(default_factory=dict)
    """Spreads by the names that `numbers` gives."""

    def as_json(self) -> dict[str, Any]:
        return {
            "problems": self.problems,
            "kinds": {name: self.kinds[name] for name in KINDS},
            "without_reference": self.without_reference,
            **{name: spread.as_json() for name, spread in self.spreads.items()},
        }


class SetSummary:
    """A set's levels, as its problems are added."""

    def __init__(self, count_tokens: Callable[[str], int] | None = None) -> None:
        """`count_tokens`: the tokens of a text for a model; None: tokens are left out."""
        self._count_tokens = count_tokens
        self._levels: dict[str, LevelSummary] = {}
        self.all = LevelSummary()

    def add(self, problem: Problem) -> None:
        measured = numbers(problem, self._count_tokens)
        for level in (self._levels.setdefault(problem.level, LevelSummary()), self.all):
            level.problems += 1
            level.kinds[kind(problem.tests)] += 1
            level.without_reference += not problem.reference
            for name, value in measured.items():
                level.spreads.setdefault(name, Spread()).add(value)

    def levels(self) -> dict[str, LevelSummary]:
        """Return the levels that occur, easiest first, and `all`."""
        found = {name: self._levels[name] for name in ordered(self._levels)}
        return {**found, "all": self.all}


def curriculum_row(problem: Problem) -> dict[str, Any]:
    """Return a problem's start points; `start_lines[c]` is where the policy starts at stage c.

    Lines are 1-based, 0 means that nothing is given; at least `[0]`, also without conditionals.
    """
    stages = Stages(conditional_lines(problem.reference))
    return {
        "problem_id": problem.problem_id,
        "conditional_lines": list(stages.conditional_lines),
        "stages": stages.stages,
        "stride": stages.stride,
        "start_lines": start_lines(stages),
    }


def curriculum_lines(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yield the same as text, a line a problem as it comes, whatever the set's size."""
    yield f"{'problem':<24} {'conditionals':>12} {'stages':>6} {'stride':>6}  start lines"
    for row in rows:
        starts = " ".join(map(str, row["start_lines"]))
        yield (
            f"{row['problem_id']:<24} {len(row['conditional_lines']):>12} "
            f"{row['stages']:>6} {row['stride']:>6}  {starts}"
        )


def start_lines(stages: Stages) -> list[int]:
    """Return the start line of every stage, stage 0 first."""
    return [stages.start_line(stage) for stage in range(stages.first + 1)]
