"""An evaluated sample with a given outcome."""

from __future__ import annotations

from stepcoder_dist.evaluation.pass_at_k import EvaluatedSample
from stepcoder_dist.records import Outcome, TestResult, Verdict


def sample(problem: str, outcome: Outcome | None, level: str = "interview") -> EvaluatedSample:
    verdict = None
    if outcome is not None:
        verdict = Verdict(
            outcome=outcome,
            tests=(TestResult(outcome=outcome),),
            structure=None,
            coverage_trusted=True,
            wall_ms=1.0,
        )
    return EvaluatedSample(
        sample_id=f"eval/{problem}/0000",
        problem_id=problem,
        level=level,
        source="print('é')\n",
        verdict=verdict,
        executed_share=None if outcome is None else 0.5,
    )
