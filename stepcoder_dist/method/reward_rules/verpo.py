"""`verpo`: tests weigh more, the fewer samples of the group pass them."""

from __future__ import annotations

from collections.abc import Sequence

from stepcoder_dist.method.reward_rules import pass_ratio
from stepcoder_dist.records import Outcome, Verdict


def reward(verdict: Verdict) -> float:
    """Return the reward before the group is known: every test weighs the same."""
    return pass_ratio.reward(verdict)


def of_group(verdicts: Sequence[Verdict]) -> list[float]:
    """VeRPO (arXiv 2601.03525): the passed tests' share of the weights, and the full pass.

    Of N samples p_j pass test j. With w_j = (N + 1 − p_j) / (N + 1), d the passed tests' share of
    Σ w_j, and b = 1 for a full pass, else 0:

        −0.3 + 1.3 · (d + b) / 2;    −1 for a program that does not compile

    From the paper: a test's difficulty is what the group's own samples say, the dense part is the
    weights of the passed tests, and the outcome of the whole suite is joined to it. The form of w
    (never 0, so that a test that all pass still counts), equal parts for d and b, and the scale of
    `pass_ratio` are ours; its turns are not here, for a sample is one answer.

    Four samples on three tests: one passes the first, one the first two, one the first, one does
    not compile. p = 3, 1, 0 and w = 0.4, 0.8, 1; d = 2/11, 6/11, 2/11.
    """
    tests = max((len(verdict.tests) for verdict in verdicts), default=0)
    passed = [
        [test.outcome is Outcome.PASSED for test in verdict.tests] or [False] * tests
        for verdict in verdicts
    ]
    more = len(verdicts) + 1
    weights = [(more - sum(column)) / more for column in zip(*passed, strict=True)]
    return [
        pass_ratio.reward(verdict)
        if verdict.outcome is Outcome.COMPILE_ERROR
        else -0.3 + 1.3 * (_share(row, weights) + (verdict.outcome is Outcome.PASSED)) / 2
        for verdict, row in zip(verdicts, passed, strict=True)
    ]


def _share(passed: Sequence[bool], weights: Sequence[float]) -> float:
    return sum(w for w, own in zip(weights, passed, strict=True) if own) / sum(weights)
