"""REINFORCE++'s advantages: the return from each token on, normalised over the step. No critic."""

from __future__ import annotations

from torch import Tensor

from learner.advantage.rewards import rewards_by_token
from learner.advantage.whitening import whiten
from learner.step_tensors import Recomputed, StepTensors, Targets, check_step_shape
from stepcoder_dist.config import LearnerConfig


def targets(tensors: StepTensors, known: Recomputed, learner: LearnerConfig) -> Targets:
    """Score less β times the KL of this and all later tokens, whitened (arXiv 2501.03262).

    A_t = r − β Σ_{i ≥ t} KL_i, then mean 0 and variance 1 over the response tokens of the entire
    step. No group and no critic: one sample a problem is enough.
    """
    raw = rewards_to_go(rewards_by_token(tensors, known, learner), tensors.mask)
    return Targets.of(tensors, whiten(raw, tensors.mask), before_whitening=raw)


def rewards_to_go(rewards: Tensor, mask: Tensor) -> Tensor:
    """Σ_{i ≥ t} r_i: [S, T], zero where masked.

    Rewards −0.05, 0.1, 0.9: 0.95, 1, 0.9.
    """
    check_step_shape(rewards, mask)
    return (rewards * mask).flip(1).cumsum(1).flip(1) * mask
