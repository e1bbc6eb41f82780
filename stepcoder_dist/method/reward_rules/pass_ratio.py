"""`pass_ratio`: by the share of tests passed."""

from __future__ import annotations

from stepcoder_dist.method.reward_rules import tiered
from stepcoder_dist.records import Outcome, Verdict


def reward(verdict: Verdict) -> float:
    """Return −0.3 + 1.3 · (tests passed / tests), RLTF's adaptive feedback (arXiv 2307.04349).

    A program that does not compile has −1.
    """
    if verdict.outcome is Outcome.COMPILE_ERROR:
        return tiered.reward(verdict)
    return -0.3 + 1.3 * (verdict.tests_passed / len(verdict.tests))
