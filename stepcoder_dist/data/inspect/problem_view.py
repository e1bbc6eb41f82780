"""One problem as text: its statement, its reference with start points, its first tests."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from stepcoder_dist.data.inspect.inspection import kind, start_lines
from stepcoder_dist.data.inspect.reference_run import ReferenceRun
from stepcoder_dist.method.conditionals import Stages, conditional_lines
from stepcoder_dist.records import Problem, TestSuite
from stepcoder_dist.text.program import line_starts

_SHOWN_TESTS = 3
_SHOWN_CHARS = 200


def show(problem: Problem, run: ReferenceRun | None = None) -> str:
    """Return the complete view.

    With `run`: the outcome of the reference, and its unexecuted lines.
    """
    tests = problem.tests
    parts = [
        f"{problem.problem_id}  {problem.level}  {kind(tests)}  {_count(len(tests), 'test')}",
        problem.statement.rstrip(),
    ]
    if problem.starter_code:
        parts.append("starter code\n" + problem.starter_code.rstrip())
    if problem.reference:
        parts.append(marked(problem.reference, run.unexecuted_lines if run else ()))
    else:
        parts.append("no reference solution")
    if run is not None:
        parts.append(run.summary())
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


def marked(reference: str, unexecuted: Collection[int] = ()) -> str:
    """Return the reference with line numbers.

    `▶` marks the line a stage starts at, `?` conditionals, `✕` lines that no test executes.
    """
    stages = Stages(conditional_lines(reference))
    by_line = {line: stage for stage, line in enumerate(start_lines(stages)) if line}
    starts = line_starts(reference)
    ends = [*starts[1:], len(reference)]
    rows = [f"reference, {_count(stages.stages, 'stage')}; stage 0 gives nothing"]
    for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1):
        stage = by_line.get(number)
        mark = f"▶ stage {stage}" if stage is not None else ""
        missed = "✕" if number in unexecuted else " "
        sign = "?" if number in stages.conditional_lines else " "
        code = reference[start:end].rstrip("\r\n")
        rows.append(f"{mark:<10} {number:>4}{missed}{sign} {code}".rstrip())
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
