"""An evaluated sample with a given outcome."""

from __future__ import annotations

from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.records import Outcome


def sample(problem: str, outcome: Outcome | None, level: str = "interview") -> EvaluatedSample:
    return EvaluatedSample(
        sample_id=f"eval/{problem}/0000",
        problem_id=problem,
        level=level,
        source="print('é')\n",
        outcome=outcome,
        tests_passed=int(outcome is Outcome.PASSED),
        tests_total=0 if outcome is None else 1,
        executed_share=None if outcome is None else 0.5,
    )
