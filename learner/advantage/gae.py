"""PPO's advantages: a critic, a reward for each token, GAE, whitened over the step."""

from __future__ import annotations

import torch
from torch import Tensor

from learner.advantage.rewards import rewards_by_token
from learner.advantage.whitening import whiten
from learner.step_tensors import Recomputed, StepTensors, Targets, check_step_shape
from stepcoder_dist.config import LearnerConfig


def targets(tensors: StepTensors, known: Recomputed, learner: LearnerConfig) -> Targets:
    """GAE (arXiv 1506.02438) over per-token rewards with the KL inside, whitened.

    The score is on the last token (StepCoder Eq. 3; arXiv 2203.02155, Eq. 2); whitening is over the
    response tokens of the entire step, before any mask. `test_ppo_step.py` has a worked example.
    """
    if known.values is None:
        raise ValueError("gae needs a critic's values")
    raw = generalised_advantages(
        rewards_by_token(tensors, known, learner),
        known.values,
        tensors.mask,
        gamma=learner.gamma,
        gae_lambda=learner.gae_lambda,
    )
    whitened = whiten(raw, tensors.mask)
    return Targets.of(tensors, whitened, before_whitening=raw, returns=raw + known.values)


def generalised_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, gae_lambda: float
) -> Tensor:
    """GAE (arXiv 1506.02438, Eq. 16); the state after the last token is terminal, with value 0.

    A_t = δ_t + γλ A_{t+1},  δ_t = r_t + γ V_{t+1} − V_t. Arguments and result are [S, T], the
    result zero where masked.

    Rewards 1, 2, 4, values 0.5, 1, 1.5, γ = 0.5, λ = 0: 1 + 0.5 − 0.5 = 1, 2 + 0.75 − 1 = 1.75,
    4 − 1.5 = 2.5.
    """
    check_step_shape(rewards, mask, values)
    values = values * mask
    advantages = torch.zeros_like(rewards)
    running = torch.zeros_like(rewards[:, 0])
    next_values = torch.zeros_like(running)
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_values - values[:, t]
        running = (delta + gamma * gae_lambda * running) * mask[:, t]
        advantages[:, t] = running
        next_values = values[:, t]
    return advantages
