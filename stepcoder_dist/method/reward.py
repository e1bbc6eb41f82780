"""The reward of a verdict (StepCoder Eq. 3). It ignores coverage, which a program can forge."""

from __future__ import annotations

from typing import Literal

from stepcoder_dist.records import Outcome, Verdict

_TIERS = {
    Outcome.PASSED: 1.0,
    Outcome.WRONG_ANSWER: -0.3,
    Outcome.RUNTIME_ERROR: -0.6,
    Outcome.TIMEOUT: -0.6,
    Outcome.OUTPUT_LIMIT: -0.6,
    Outcome.OUT_OF_MEMORY: -0.6,
    Outcome.COMPILE_ERROR: -1.0,
}


def worst(outcomes: list[Outcome]) -> Outcome:
    """Return a program's outcome: that of its worst test. Raises `ValueError` for no tests."""
    if not outcomes:
        raise ValueError("a program without tests has no outcome")
    return max(outcomes, key=lambda outcome: outcome.severity)


def reward(verdict: Verdict, kind: Literal["tiered", "binary", "pass_ratio"] = "tiered") -> float:
    """Return the scalar reward, in [−1, 1].

    `tiered` is the paper's; `binary` is 1 for a full pass and else 0; `pass_ratio` gives every
    program that compiles −0.3 + 1.3·(tests passed / tests). Raises `ValueError` for a verdict
    without tests on a program that compiles: no tests is never a pass.
    """
    if not verdict.tests and verdict.outcome is not Outcome.COMPILE_ERROR:
        raise ValueError("a program without tests has no reward")
    if kind == "binary":
        return float(verdict.outcome is Outcome.PASSED)
    if kind == "pass_ratio" and verdict.outcome is not Outcome.COMPILE_ERROR:
        return -0.3 + 1.3 * (verdict.tests_passed / len(verdict.tests))
    return _TIERS[verdict.outcome]
