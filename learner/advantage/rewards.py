"""The KL to the reference inside the reward, of each token or of an entire answer.

The penalty is an estimate of KL(π_old ‖ π_ref) at each token (`learner.kl_estimator`), by default
the sampled log-ratio, unbiased under the sampling distribution (decision 0021). Where the KL is a
loss, or is not used (`learner.kl_in`), β is 0 here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learner.loss.kl import ESTIMATORS, Estimator, k1
from learner.step_tensors import Recomputed, StepTensors, check_step_shape
from stepcoder_dist.config import LearnerConfig


def rewards_by_token(tensors: StepTensors, known: Recomputed, learner: LearnerConfig) -> Tensor:
    """Return each token's reward as the keys have it, float32 [S, T]."""
    return token_rewards(*_as_the_keys_have_it(tensors, known, learner))


def returns_by_sample(tensors: StepTensors, known: Recomputed, learner: LearnerConfig) -> Tensor:
    """Return each answer's return as the keys have it, float32 [S]."""
    return sequence_returns(*_as_the_keys_have_it(tensors, known, learner))


def _as_the_keys_have_it(
    tensors: StepTensors, known: Recomputed, learner: LearnerConfig
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, float, Estimator]:
    """Return the arguments of `token_rewards`, which are those of `sequence_returns`."""
    return (
        tensors.scores,
        known.old_logprobs,
        known.reference_logprobs,
        tensors.mask,
        learner.kl_beta_in("reward"),
        ESTIMATORS[learner.kl_estimator_used],
    )


def token_rewards(
    scores: Tensor,
    policy_logprobs: Tensor,
    reference_logprobs: Tensor | None,
    mask: Tensor,
    beta: float,
    estimator: Estimator = k1,
) -> Tensor:
    """Per-token KL penalty everywhere, the score on the last token (arXiv 2203.02155, Eq. 2).

    `scores` float32 [S], the others [S, T]; result float32 [S, T], zero where masked. Without a
    reference there is no penalty.

    Score 1, β = 0.5, log-ratios 1, 0, −1: rewards −0.5, 0, 1.5.
    """
    if reference_logprobs is None:
        reference_logprobs, beta = policy_logprobs, 0.0
    check_step_shape(policy_logprobs, mask, reference_logprobs)
    if scores.shape != mask.shape[:1]:
        raise ValueError(f"scores are {tuple(scores.shape)}, the batch has {mask.shape[0]} samples")
    rewards = -beta * estimator(policy_logprobs, reference_logprobs) * mask
    lengths = mask.sum(dim=1)
    rows = torch.nonzero(lengths > 0).squeeze(1)
    rewards[rows, lengths[rows] - 1] += scores[rows]
    return rewards


def sequence_returns(
    scores: Tensor,
    policy_logprobs: Tensor,
    reference_logprobs: Tensor | None,
    mask: Tensor,
    beta: float,
    estimator: Estimator = k1,
) -> Tensor:
    """R = score − β Σ_t KL_t, with k1 = log π_old − log π_ref: the KL inside an answer's reward.

    As arXiv 2402.14740 rewards an entire answer. The log-probs are float32 [S, T], R float32 [S].
    Without a reference R is the score.

    Score 1, β = 0.1, log-ratios 0.5, −1, 0, 1: R = 1 − 0.1 · 0.5 = 0.95.
    """
    if reference_logprobs is None or beta == 0:
        return scores
    penalties = estimator(policy_logprobs, reference_logprobs).double() * mask
    return (scores.double() - beta * penalties.sum(dim=1)).float()
