"""Augmenting one problem, on a sandbox that runs programs as they are."""

from __future__ import annotations

import asyncio
import dataclasses

from interpreted import Interpreted

from stepcoder_dist.data.augment import Budget, augment
from stepcoder_dist.data.augment.scores import AugmentScores, figures
from stepcoder_dist.data.refine.more_tests import NOTE, MoreTests
from stepcoder_dist.data.refine.reading import read
from stepcoder_dist.records import LineStructure, Outcome, Problem, TestSuite, Verdict

GRADES = """\
def grade(points):
    if points >= 90:
        return "A"
    if points >= 50:
        return "B"
    return "C"
"""
LAX = GRADES.replace("50", "20")


class Traced(Interpreted):
    """Tells, too, which lines each input executes."""

    def __init__(self, lines: dict[int, set[int]]) -> None:
        super().__init__()
        self.lines = lines

    async def judge(self, source: str, tests: TestSuite, *, problem_id: str) -> Verdict:
        verdict = await super().judge(source, tests, problem_id=problem_id)
        return dataclasses.replace(
            verdict,
            tests=tuple(
                dataclasses.replace(result, executed_lines=frozenset(self.lines[given]))
                for (given,), result in zip(tests.inputs, verdict.tests, strict=True)
            ),
            structure=LineStructure(
                code_lines=frozenset().union(*self.lines.values()),
                follows=(),
                comment_lines=frozenset(),
            ),
            coverage_trusted=True,
        )


def problem(*pairs, reference=GRADES, fn_name="grade", **more):
    tests = TestSuite(
        fn_name=fn_name,
        inputs=tuple(i for i, _ in pairs),
        outputs=tuple(o for _, o in pairs),
        **more,
    )
    return Problem(
        problem_id="p/1", statement="", reference=reference, level="interview", tests=tests
    )


FEW = problem(([95], "A"), ([10], "C"))


def augmented(one, limit=15, **more):
    return asyncio.run(augment(one, Interpreted(), limit, 0, **more))


def test_tests_are_added_that_kill_mutants_and_the_reference_passes_them():
    found = augmented(FEW)
    assert 0 < found.added <= 13
    assert found.killed_before < found.killed_after <= found.mutants
    tests = found.problem.tests
    assert (tests.inputs[:2], tests.outputs[:2]) == (FEW.tests.inputs, FEW.tests.outputs)
    assert len(tests.inputs) == len(tests.outputs) == 2 + found.added
    verdict = asyncio.run(Interpreted().judge(GRADES, tests, problem_id="grades"))
    assert verdict.outcome is Outcome.PASSED
    assert "B" in tests.outputs
    assert all(10 <= points <= 95 for (points,) in tests.inputs)


def test_no_test_is_added_beyond_the_limit_and_none_where_it_is_reached():
    assert augmented(FEW, limit=3).added == 1
    full = augmented(FEW, limit=2)
    assert (full.added, full.why) == (0, "")
    assert full.mutants > full.killed_before == full.killed_after


def test_the_same_seed_adds_the_same_tests():
    assert augmented(FEW) == augmented(FEW)


def test_a_test_is_added_for_a_line_that_no_test_executed():
    lines = {n: {1, 2} if n < 50 else {1, 2, 5} if n < 90 else {1, 2, 3} for n in range(100)}
    work = augment(FEW, Traced(lines), 15, 0, budget=Budget(mutants=0))
    found = asyncio.run(work)
    assert (found.added, found.lines_before, found.lines_after, found.lines) == (1, 3, 4, 4)
    assert 50 <= found.problem.tests.inputs[-1][0] < 90


def test_a_wrong_solution_that_the_tests_accept_is_refuted_by_an_added_one():
    other = GRADES.replace("points", "n")
    found = augmented(FEW, others=[LAX, other, GRADES.replace("points", "m")])
    assert (found.others, found.refuted) == (3, 1)
    verdict = asyncio.run(Interpreted().judge(LAX, found.problem.tests, problem_id="lax"))
    assert verdict.outcome is Outcome.WRONG_ANSWER


def test_where_one_other_solution_dissents_its_inputs_are_no_tests():
    found = augmented(FEW, others=[LAX])
    assert (found.others, found.refuted) == (1, 0)
    assert not any(20 <= points < 50 for (points,) in found.problem.tests.inputs)


def test_an_input_on_which_the_reference_fails_or_says_something_else_is_no_test():
    picky = "def grade(n):\n    if n == 5:\n        return None\n    return 60 // (n - 6)\n"
    found = augmented(problem(([3], -20), ([9], 20), reference=picky))
    assert not {5, 6} & {n for (n,) in found.problem.tests.inputs}


def test_a_reference_that_answers_differently_the_second_time_gives_no_tests():
    by_seed = "def grade(n):\n    return n if n < 4 or n > 8 else SEED\n"
    one = problem(([3], 3), ([9], 9), reference=by_seed)
    again = augment(one, Interpreted(seed=0), 15, 0, second=Interpreted(seed=1))
    assert asyncio.run(again).added == 0
    assert augmented(problem(([3], 3), ([9], 9), reference=by_seed)).added


def test_standard_input_is_augmented_by_its_format():
    reference = "n = int(input())\nprint(sum(x for x in map(int, input().split()) if x > 3))\n"
    pairs = ("3\n4 1 2\n", "4\n"), ("2\n7 9\n", "16\n")
    one = problem(*pairs, reference=reference, fn_name=None)
    found = augmented(one)
    assert found.added
    for text in found.problem.tests.inputs:
        count, numbers = text.splitlines()
        assert int(count) == len(numbers.split())


def test_an_assert_script_and_a_failing_reference_are_left_as_they_are():
    script = problem(fn_name=None, test_code="assert f(1)", entry_point="f")
    assert augmented(script).why == "an assert script is left as it is"
    failing = augmented(problem(([95], "B")))
    assert failing.why.startswith("the reference fails")
    assert failing.problem.tests.inputs == ([95],)


def test_a_refined_row_gets_its_tests_and_figures_and_the_report_their_sums():
    row = {
        "problem_id": "p/1",
        "statement": "Grades.",
        "solutions": [GRADES, LAX, GRADES.replace("points", "n"), GRADES.replace("points", "m")],
        "inputs": [[95], [10]],
        "outputs": ["A", "C"],
        "fn_name": "grade",
    }
    found = read(row, "rows.jsonl:1")
    stage = MoreTests(Interpreted(seed=0), Interpreted(seed=1), 6)
    kept = asyncio.run(stage.apply(found))
    told = kept.notes[NOTE]
    assert len(kept.problem.tests) == 2 + told["added"] <= 6
    assert (told["others"], told["refuted"]) == (3, 1)
    sums = stage.tally([{"difficulty": "interview", NOTE: told}] * 2)
    assert sums["tests added"] == 2 * told["added"]
    assert sums["levels"]["interview"]["score_after"] == told["killed_after"] / told["mutants"]
    assert sums["of these, refuted by a new test"] == 2


def test_scores_add_up_by_level():
    scores, found = AugmentScores(), augmented(FEW)
    scores.add("interview", figures(found))
    scores.add("introductory", figures(augmented(problem(([95], "B")))))
    levels = {score.level: score for score in scores.by_level()}
    assert list(levels) == ["introductory", "interview", "all"]
    assert levels["all"].problems == 2
    assert levels["all"].unchanged == 1
    assert levels["interview"].score_before == found.killed_before / found.mutants
    assert levels["introductory"].score_after is None
    assert scores.reasons == {"the reference fails": 1}
