"""Advantages without a critic: a sample's score against its group's. Pure functions, float32 [S].

S = samples of a whole optimiser step (of all ranks). `groups` int64 [S] numbers the samples' groups
from 0 (`Ticket.group`). A group of one has nothing to be
compared with, and advantage 0. Sums are in float64 and through a matrix product: equal scores
cancel exactly, and no order of atomic additions makes two ranks differ.
"""

from __future__ import annotations

import torch
from torch import Tensor

STD_EPSILON = 1e-6


def group_normalised(scores: Tensor, groups: Tensor) -> Tensor:
    """GRPO's outcome supervision (DeepSeekMath, arXiv 2402.03300, section 4.1.2).

    A = (r − mean(r)) / (std(r) + ε) over the sample's group; the paper leaves open which standard
    deviation: here the population's. Equal scores have advantage 0.

    Scores 1, −0.3, −0.3, 1 of one group: mean 0.35, std 0.65, advantages 1, −1, −1, 1.
    """
    _check(scores, groups)
    members = _members(groups)
    values = scores.double()
    centred = values - _mean(values, members)
    return (centred / (_mean(centred.square(), members).sqrt() + STD_EPSILON)).float()


def leave_one_out(returns: Tensor, groups: Tensor) -> Tensor:
    """RLOO's baseline: the mean of the *other* samples' returns (RLOO, arXiv 2402.14740).

    A_i = R_i − Σ_{j≠i} R_j / (k − 1) = k/(k − 1) · (R_i − mean(R)), unbiased because the baseline
    does not depend on sample i.

    Returns 1, −0.3, −0.3, 1 of one group: 1 − 0.4/3 = 0.8667, −0.3 − 1.7/3 = −0.8667, …
    """
    _check(returns, groups)
    members = _members(groups)
    values = returns.double()
    size = members.sum(dim=0)[groups]
    centred = values - _mean(values, members)
    return (centred * size / (size - 1).clamp(min=1)).float()


def sequence_returns(
    scores: Tensor, policy_logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor, beta: float
) -> Tensor:
    """R = score − β Σ_t (log π_old − log π_ref): the KL inside a whole answer's reward [S].

    As arXiv 2402.14740 rewards a whole answer, by the sampled log-ratio (k1). The log-probs are
    float32 [S, T]; `mask` bool [S, T] marks the real tokens.

    Score 1, β = 0.1, log-ratios 0.5, −1, 0, 1: R = 1 − 0.1 · 0.5 = 0.95.
    """
    ratios = (policy_logprobs - reference_logprobs).double() * mask
    return (scores.double() - beta * ratios.sum(dim=1)).float()


def over_tokens(per_sample: Tensor, mask: Tensor) -> Tensor:
    """Every token has its sample's advantage: [S, T], zero where masked."""
    return per_sample[:, None] * mask


def flat_share(scores: Tensor, groups: Tensor) -> float:
    """Share of samples in groups whose scores are all the same: the score teaches nothing."""
    _check(scores, groups)
    members = _members(groups)
    values = scores.double()
    spread = _mean((values - _mean(values, members)).square(), members)
    return float((spread == 0).double().mean())


def _members(groups: Tensor) -> Tensor:
    """float64 [S, G]: 1 where the sample is in the group."""
    return torch.nn.functional.one_hot(groups).double()


def _mean(values: Tensor, members: Tensor) -> Tensor:
    """float64 [S]: the mean over each sample's group."""
    return members @ ((members.T @ values) / members.sum(dim=0))


def _check(values: Tensor, groups: Tensor) -> None:
    if values.ndim != 1 or values.shape != groups.shape:
        raise ValueError(f"expected [samples] {tuple(groups.shape)}, not {tuple(values.shape)}")
    if groups.dtype != torch.int64:
        raise TypeError(f"groups are {groups.dtype}; give int64")
