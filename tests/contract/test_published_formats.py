"""References of rows in published formats pass in the sandbox, and wrong programs do not."""

from __future__ import annotations

import sys
from pathlib import Path

from stepcoder_dist import problems
from stepcoder_dist.records import Outcome

sys.path.append(str(Path(__file__).parents[1] / "unit" / "problems"))
import published_rows as made


def test_the_references_of_every_published_format_pass_and_wrong_programs_do_not(place):
    read = {name: problems.problem_from_row(row, "s:1") for name, row in made.ROWS.items()}
    right = [
        (made.RIGHT.get(name) or problem.reference, problem.tests) for name, problem in read.items()
    ]
    wrong = [(made.WRONG[name], problem.tests) for name, problem in read.items()]
    verdicts = dict(zip(read, place.judge_all(right), strict=True))
    assert {n: v.detail for n, v in verdicts.items() if v.outcome is not Outcome.PASSED} == {}
    failed = dict(zip(read, place.judge_all(wrong), strict=True))
    assert {n for n, v in failed.items() if v.outcome is not Outcome.WRONG_ANSWER} == set()
