"""What `data inspect --run` makes of the verdicts on a set's references."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from stepcoder_dist.data.inspect.reference_run import ReferenceRun, SetRuns, reference_runs
from stepcoder_dist.errors import CheckerFault, ProblemError, SandboxFault
from stepcoder_dist.records import LineStructure, Outcome, Problem, TestResult, TestSuite, Verdict


def problem(name: str, reference: str = "a", level: str = "interview") -> Problem:
    suite = TestSuite(inputs=("1", "2"), outputs=("1", "2"))
    return Problem(problem_id=name, statement="", reference=reference, level=level, tests=suite)


VERDICT = Verdict(
    outcome=Outcome.PASSED,
    tests=(
        TestResult(outcome=Outcome.PASSED, executed_lines=frozenset({1})),
        TestResult(outcome=Outcome.PASSED, executed_lines=frozenset({1, 2})),
    ),
    # lines 4 and 5 are one statement, line 3 a comment
    structure=LineStructure(
        code_lines=frozenset({1, 2, 4, 5}),
        follows=((1,), (2,), (4, 5), (4, 5), (4, 5)),
        comment_lines=frozenset({3}),
    ),
    coverage_trusted=True,
    wall_ms=1.0,
)


class Answers:
    """A sandbox that answers by the source, later for earlier programs."""

    def __init__(self) -> None:
        self.working = 0
        self.most = 0

    async def judge(self, source: str, tests: TestSuite, *, problem_id: str) -> Verdict:
        del tests, problem_id
        self.working += 1
        self.most = max(self.most, self.working)
        for _ in range(10 - len(source)):
            await asyncio.sleep(0)
        self.working -= 1
        if source in ERRORS:
            raise ERRORS[source]
        return VERDICT


ERRORS = {
    "fault": SandboxFault("no engine"),
    "bad": ProblemError("no such comparison"),
    "check": CheckerFault("the checker raised"),
}


def run(found: list[Problem], in_flight: int = 2) -> tuple[list[ReferenceRun], Answers]:
    sandbox = Answers()

    async def collect() -> list[ReferenceRun]:
        return [each async for each in reference_runs(found, sandbox, in_flight=in_flight)]

    return asyncio.run(collect()), sandbox


def test_lines_that_no_test_executes_are_counted_by_statement_over_all_tests():
    ((told,), _) = run([problem("a/1")])
    assert (told.executed_share, told.unexecuted_lines) == (0.5, (4, 5))
    assert (told.tests_passed, told.tests_total, told.passed) == (2, 2, True)


def test_coverage_that_proves_nothing_is_not_known():
    untrusted = ReferenceRun.of(
        problem("a/1"), dataclasses.replace(VERDICT, coverage_trusted=False)
    )
    assert (untrusted.executed_share, untrusted.unexecuted_lines) == (None, ())
    assert "coverage unknown" in untrusted.summary()


def test_runs_come_in_the_sets_order_and_only_so_many_are_in_flight():
    found = [problem(f"a/{n}", "x" * (1 + n % 3)) for n in range(7)]
    runs, sandbox = run([*found, problem("a/8", reference="")], in_flight=3)
    assert [each.problem_id for each in runs] == [f"a/{n}" for n in range(7)]
    assert sandbox.most == 3


@pytest.mark.parametrize(
    ("source", "outcome"),
    [("fault", "sandbox_fault"), ("bad", "invalid"), ("check", "invalid")],
)
def test_what_has_no_verdict_is_told_with_the_reason_and_the_rest_goes_on(
    source: str, outcome: str
):
    runs, _ = run([problem("a/1", source), problem("a/2")])
    assert [each.outcome for each in runs] == [outcome, "passed"]
    assert runs[0].detail == str(ERRORS[source])


def test_a_sets_runs_are_summed_up_by_level_and_what_stands_out_is_named():
    runs = SetRuns()
    whole = ReferenceRun(problem_id="a/1", level="interview", outcome="passed", executed_share=1.0)
    gap = dataclasses.replace(whole, problem_id="a/2", executed_share=0.5, unexecuted_lines=(4, 5))
    failed = dataclasses.replace(
        gap, problem_id="a/3", level="competition", outcome="timeout", executed_share=None,
        unexecuted_lines=(),
    )  # fmt: skip
    for each in (whole, gap, failed):
        runs.add(each)
    told = runs.as_json()
    assert list(told["levels"]) == ["interview", "competition", "all"]
    assert told["levels"]["interview"] == {
        "run": 2,
        "outcomes": {"passed": 2},
        "executed_share": 0.75,
        "with_coverage": 2,
        "uncovered": 1,
    }
    assert told["levels"]["competition"]["executed_share"] is None
    assert [each["problem_id"] for each in told["failed"]] == ["a/3"]
    assert told["uncovered"] == [{"problem_id": "a/2", "unexecuted_lines": (4, 5)}]
