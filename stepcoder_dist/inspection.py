"""What `stepcoder data inspect` shows: a set in numbers, one problem in full, its start points.

Nothing is run: everything here is read off the records and the source of the references.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from stepcoder_dist.curriculum import Stages, conditional_lines
from stepcoder_dist.program import line_starts
from stepcoder_dist.records import LEVELS, Problem, TestSuite

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHOWN_TESTS = 3
_SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Least, median, mean and largest of a count over problems; all 0 where there are none."""

    least: int
    median: float
    mean: float
    largest: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Spread:
        if not values:
            return cls(least=0, median=0, mean=0, largest=0)
        return cls(least=min(values), median=median(values), mean=mean(values), largest=max(values))

    def __str__(self) -> str:
        if self.least == self.largest:
            return str(self.least)
        return f"{self.least}–{self.largest}, median {self.median:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelSummary:
    """One level's problems in numbers; `level` is `all` for the whole set."""

    level: str
    problems: int
    kinds: dict[str, int]
    """Problems by `kind`."""
    without_reference: int
    tests: Spread
    """Tests a problem; a script counts as one."""
    conditionals: Spread
    stages: Spread
    reference_lines: Spread
    statement_chars: Spread


def kind(tests: TestSuite) -> str:
    """`stdin`, `call` or `script`: how a problem is tested."""
    if tests.test_code:
        return "script"
    return "stdin" if tests.fn_name is None else "call"


def summarise(problems: Iterable[Problem]) -> list[LevelSummary]:
    """One entry for each level that occurs, easiest first, and one for all."""
    measured = [(problem, Stages(conditional_lines(problem.reference))) for problem in problems]
    levels = [level for level in LEVELS if any(p.level == level for p, _ in measured)]
    groups = [(level, [m for m in measured if m[0].level == level]) for level in levels]
    return [_level_summary(name, group) for name, group in [*groups, ("all", measured)]]


def _level_summary(level: str, group: list[tuple[Problem, Stages]]) -> LevelSummary:
    problems = [problem for problem, _ in group]
    kinds = [kind(problem.tests) for problem in problems]
    with_reference = [problem for problem in problems if problem.reference]
    return LevelSummary(
        level=level,
        problems=len(problems),
        kinds={name: kinds.count(name) for name in ("stdin", "call", "script")},
        without_reference=len(problems) - len(with_reference),
        tests=Spread.of([len(problem.tests) for problem in problems]),
        conditionals=Spread.of([len(stages.conditional_lines) for _, stages in group]),
        stages=Spread.of([stages.stages for _, stages in group]),
        reference_lines=Spread.of([len(line_starts(p.reference)) for p in with_reference]),
        statement_chars=Spread.of([len(problem.statement) for problem in problems]),
    )


def summary(problems: Iterable[Problem]) -> RenderableType:
    """The table of `summarise`, one column a level."""
    from rich.table import Table

    levels = summarise(problems)
    table = Table(title="Problems by level")
    table.add_column("")
    for entry in levels:
        table.add_column(entry.level, justify="right")

    def line(name: str, values: Iterable[object]) -> None:
        table.add_row(name, *map(str, values))

    line("problems", (entry.problems for entry in levels))
    line("on standard input", (entry.kinds["stdin"] for entry in levels))
    line("by call", (entry.kinds["call"] for entry in levels))
    line("by assert script", (entry.kinds["script"] for entry in levels))
    line("without a reference", (entry.without_reference for entry in levels))
    line("tests", (entry.tests for entry in levels))
    line("conditional statements", (entry.conditionals for entry in levels))
    line("mean conditionals", (f"{entry.conditionals.mean:.2f}" for entry in levels))
    line("curriculum stages", (entry.stages for entry in levels))
    line("lines of the reference", (entry.reference_lines for entry in levels))
    line("characters of the statement", (entry.statement_chars for entry in levels))
    return table


def curriculum_rows(problems: Iterable[Problem]) -> Iterator[dict[str, Any]]:
    """One object a problem; `start_lines[c]` is where the policy starts at stage c.

    Lines are 1-based, 0 means that nothing is given; at least `[0]`, also without conditionals.
    """
    for problem in problems:
        stages = Stages(conditional_lines(problem.reference))
        yield {
            "problem_id": problem.problem_id,
            "conditional_lines": list(stages.conditional_lines),
            "stages": stages.stages,
            "stride": stages.stride,
            "start_lines": start_lines(stages),
        }


def start_lines(stages: Stages) -> list[int]:
    """The start line of every stage, stage 0 first."""
    return [stages.start_line(stage) for stage in range(stages.first + 1)]


def show(problem: Problem) -> str:
    """One problem as text: statement, reference with its start points marked, first tests."""
    tests = problem.tests
    parts = [
        f"{problem.problem_id}  {problem.level}  {kind(tests)}  {_count(len(tests), 'test')}",
        problem.statement.rstrip(),
    ]
    if problem.starter_code:
        parts.append("starter code\n" + problem.starter_code.rstrip())
    parts.append(marked(problem.reference) if problem.reference else "no reference solution")
    if tests.setup_code:
        parts.append("setup code\n" + tests.setup_code.rstrip())
    if tests.test_code:
        parts.append("assert script\n" + tests.test_code.strip())
    parts += [
        _test(number, tests, given, expected)
        for number, (given, expected) in enumerate(
            zip(tests.inputs[:_SHOWN_TESTS], tests.outputs[:_SHOWN_TESTS], strict=True), start=1
        )
    ]
    if len(tests.inputs) > _SHOWN_TESTS:
        parts.append(f"and {_count(len(tests.inputs) - _SHOWN_TESTS, 'more test', 'more tests')}")
    return "\n\n".join(parts) + "\n"


def marked(reference: str) -> str:
    """The reference with line numbers; `?` marks conditionals, `▶` the line a stage starts at."""
    stages = Stages(conditional_lines(reference))
    by_line = {line: stage for stage, line in enumerate(start_lines(stages)) if line}
    starts = line_starts(reference)
    ends = [*starts[1:], len(reference)]
    rows = [f"reference, {_count(stages.stages, 'stage')}; stage 0 gives nothing"]
    for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1):
        stage = by_line.get(number)
        mark = f"▶ stage {stage}" if stage is not None else ""
        sign = "?" if number in stages.conditional_lines else " "
        code = reference[start:end].rstrip("\r\n")
        rows.append(f"{mark:<10} {number:>4} {sign} {code}".rstrip())
    return "\n".join(rows)


def _test(number: int, tests: TestSuite, given: Any, expected: Any) -> str:
    if tests.fn_name is None:
        shown = f"input {_short(repr(given))}\noutput {_short(repr(expected))}"
    else:
        arguments = ", ".join(map(repr, given))
        shown = f"{_short(f'{tests.fn_name}({arguments})')}\nreturns {_short(repr(expected))}"
    return f"test {number}\n{shown}"


def _short(text: str) -> str:
    if len(text) <= _SHOWN_CHARS:
        return text
    return f"{text[:_SHOWN_CHARS]}… ({len(text)} characters)"


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
