"""The reward of a verdict (StepCoder Eq. 3), by the rule that `reward.kind` names."""

from __future__ import annotations

from stepcoder_dist.method import reward_rules
from stepcoder_dist.methods import RewardName
from stepcoder_dist.records import Outcome, Verdict


def worst(outcomes: list[Outcome]) -> Outcome:
    """Return a program's outcome: that of its worst test. Raises `ValueError` for no tests."""
    if not outcomes:
        raise ValueError("a program without tests has no outcome")
    return max(outcomes, key=lambda outcome: outcome.severity)


def reward(verdict: Verdict, kind: RewardName = "tiered") -> float:
    """Return the scalar reward, in [−1, 1] unless the rule says otherwise.

    Of a rule that compares a group, it is that before the group is known. Raises `ValueError` for
    a verdict without tests on a program that compiles: no tests is never a pass.
    """
    if not verdict.tests and verdict.outcome is not Outcome.COMPILE_ERROR:
        raise ValueError("a program without tests has no reward")
    return reward_rules.rule(kind).reward(verdict)
