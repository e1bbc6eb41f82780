"""`tiered`: by the worst test."""

from __future__ import annotations

from stepcoder_dist.records import Outcome, Verdict

TIERS = {
    Outcome.PASSED: 1.0,
    Outcome.WRONG_ANSWER: -0.3,
    Outcome.RUNTIME_ERROR: -0.6,
    Outcome.TIMEOUT: -0.6,
    Outcome.OUTPUT_LIMIT: -0.6,
    Outcome.OUT_OF_MEMORY: -0.6,
    Outcome.COMPILE_ERROR: -1.0,
}


def reward(verdict: Verdict) -> float:
    """Return the reward of StepCoder (arXiv 2402.01391), Eq. 3."""
    return TIERS[verdict.outcome]
