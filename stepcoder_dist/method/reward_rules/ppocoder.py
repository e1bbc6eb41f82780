"""`ppocoder`: the outcome, and how alike program and reference are."""

from __future__ import annotations

from stepcoder_dist.method.reward_rules import tiered
from stepcoder_dist.records import Verdict


def reward(verdict: Verdict) -> float:
    """PPOCoder (arXiv 2301.13816), section 3.3: R = R_cs + R_ast + R_dfg, from −1 to 3.

    R_cs is the compiler's and the tests' signal: +1, −0.3, −0.6, −1, as in `tiered`. R_ast is the
    share of the reference's subtrees that the program has too, R_dfg that of its data flow
    (`Verdict.likeness`); a program that cannot be read has neither. The paper's KL term is
    `learner.kl_beta`.

    From the paper: the sum and the two matches, with weight 1. A wrong program that looks like the
    reference can so be worth more than a right one that does not: 1.7 and 1.3, say. The matches
    are made from Python's own tree.

    A wrong answer with half of the subtrees and a quarter of the flow: −0.3 + 0.5 + 0.25 = 0.45.
    """
    return tiered.reward(verdict) + sum(verdict.likeness or ())
