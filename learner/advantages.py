"""From scores to whitened advantages: pure functions on float32 tensors.

S = samples of a whole optimiser step (of all ranks), T = the longest completion. Arrays are [S, T],
right-padded; `mask` bool [S, T] marks the real tokens, which start at column 0. Column t speaks of
token t: its reward is earned by sampling token t, its value is V(state before token t).
"""

from __future__ import annotations

import torch
from torch import Tensor

WHITENING_EPSILON = 1e-8


def token_rewards(
    scores: Tensor, policy_logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor, beta: float
) -> Tensor:
    """Per-token KL penalty everywhere, the score on the last token (arXiv 2203.02155, Eq. 2).

    The penalty is the sampled log π_old − log π_ref (k1 of joschu.net/blog/kl-approx.html),
    unbiased for the KL under the sampling distribution (decision 0021). `scores` float32 [S];
    result [S, T], zero where masked.
    """
    _check(policy_logprobs, mask, reference_logprobs)
    if scores.shape != mask.shape[:1]:
        raise ValueError(f"scores are {tuple(scores.shape)}, the batch has {mask.shape[0]} samples")
    rewards = -beta * (policy_logprobs - reference_logprobs) * mask
    lengths = mask.sum(dim=1)
    rows = torch.nonzero(lengths > 0).squeeze(1)
    rewards[rows, lengths[rows] - 1] += scores[rows]
    return rewards


def generalised_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, gae_lambda: float
) -> Tensor:
    """GAE (arXiv 1506.02438, Eq. 16); the state after the last token is terminal, with value 0.

    A_t = δ_t + γλ A_{t+1},  δ_t = r_t + γ V_{t+1} − V_t. Result [S, T], zero where masked.
    """
    _check(rewards, mask, values)
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


def whiten(advantages: Tensor, mask: Tensor) -> Tensor:
    """Shift and scale to mean 0 and (population) variance 1 over the masked-in entries.

    The statistics are those of the response tokens of the whole step, before FGO's mask: a
    token's advantage must not depend on how much of its neighbours' code was executed.
    """
    _check(advantages, mask)
    count = mask.sum().clamp(min=1)
    mean = (advantages * mask).sum() / count
    variance = ((advantages - mean).square() * mask).sum() / count
    return (advantages - mean) * (variance + WHITENING_EPSILON).rsqrt() * mask


def explained_variance(returns: Tensor, values: Tensor, mask: Tensor) -> float:
    """1 − Var(returns − values) / Var(returns) where `mask`; 0 where the returns are constant."""
    _check(returns, mask, values)
    spread = returns[mask].double().var(correction=0)
    rest = (returns - values)[mask].double().var(correction=0)
    return float(1 - rest / spread) if spread > 0 else 0.0


def _check(first: Tensor, mask: Tensor, *others: Tensor) -> None:
    for tensor in (first, *others):
        if tensor.ndim != 2 or tensor.shape != mask.shape:  # noqa: PLR2004
            raise ValueError(
                f"expected [samples, tokens] {tuple(mask.shape)}, not {tuple(tensor.shape)}"
            )
    if mask.dtype != torch.bool:
        raise TypeError(f"the mask is {mask.dtype}; give bool")
