"""`binary`: 1 or 0."""

from __future__ import annotations

from stepcoder_dist.records import Outcome, Verdict


def reward(verdict: Verdict) -> float:
    """Return 1 for a program that passes every test, else 0."""
    return float(verdict.outcome is Outcome.PASSED)
