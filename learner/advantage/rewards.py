"""The KL to the reference inside the reward, of each token or of an entire answer.

The penalty is the sampled log π_old − log π_ref (k1 of joschu.net/blog/kl-approx.html), unbiased
for the KL under the sampling distribution (decision 0021).
"""

from __future__ import annotations

import torch
from torch import Tensor

from learner.step_tensors import check_step_shape


def token_rewards(
    scores: Tensor,
    policy_logprobs: Tensor,
    reference_logprobs: Tensor | None,
    mask: Tensor,
    beta: float,
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
    rewards = -beta * (policy_logprobs - reference_logprobs) * mask
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
) -> Tensor:
    """R = score − β Σ_t (log π_old − log π_ref): the KL inside an answer's reward, float32 [S].

    As arXiv 2402.14740 rewards an entire answer. The log-probs are float32 [S, T]. Without a
    reference R is the score.

    Score 1, β = 0.1, log-ratios 0.5, −1, 0, 1: R = 1 − 0.1 · 0.5 = 0.95.
    """
    if reference_logprobs is None:
        return scores
    ratios = (policy_logprobs - reference_logprobs).double() * mask
    return (scores.double() - beta * ratios.sum(dim=1)).float()
