"""TEMPO's advantages: GRPO's, and credit where a group's samples part ways. No critic."""

from __future__ import annotations

import torch
from torch import Tensor

from learner.advantage.groups import GroupMean, check_groups
from learner.advantage.grpo import STD_EPSILON
from learner.advantage.rewards import returns_by_sample
from learner.step_tensors import Recomputed, StepTensors, Targets, check_step_shape
from stepcoder_dist.config import LearnerConfig


def targets(tensors: StepTensors, known: Recomputed, learner: LearnerConfig) -> Targets:
    """(r − mean(r) + V(s_{t+1}) − V(s_t)) / std(r) on token t (TEMPO, arXiv 2509.18314).

    The samples of a group share prompt and given code, so they form a tree of tokens. V of a node
    is the mean score of the samples that pass through it. Where no sample parts, V does not
    change, and the advantage is GRPO's.
    """
    returns = returns_by_sample(tensors, known, learner)
    return Targets.of(
        tensors, tree_advantages(returns, tensors.groups, tensors.token_ids, tensors.mask)
    )


def tree_advantages(scores: Tensor, groups: Tensor, token_ids: Tensor, mask: Tensor) -> Tensor:
    """Return the formula above over each sample's group: float32 [S, T], zero where masked.

    `scores` float32 [S], `groups` int64 [S], `token_ids` int64 [S, T]. ε = 1e-6 is added to the
    deviation, as for `grpo`.

    Samples a b, a c, d e of one group with scores 1, 0, 0: mean 1/3, std 0.4714. V at the root is
    1/3, after a 1/2, after a b 1. So (2/3 + 1/2 − 1/3) / 0.4714 = 1.7678 on a of the first sample,
    (2/3 + 1/2) / 0.4714 = 2.4749 on b.
    """
    check_groups(scores, groups)
    check_step_shape(token_ids, mask)
    mean = GroupMean(groups)
    values = scores.double()
    centred = values - mean(values)
    deviation = mean(centred.square()).sqrt() + STD_EPSILON
    steps = torch.zeros(mask.shape, dtype=torch.float64, device=mask.device)
    for group in range(int(groups.max()) + 1):
        rows = torch.nonzero(groups == group).squeeze(1)
        steps[rows] = _value_steps(values[rows], token_ids[rows], mask[rows])
    return ((centred[:, None] + steps) / deviation[:, None] * mask).float()


def _value_steps(scores: Tensor, token_ids: Tensor, mask: Tensor) -> Tensor:
    """V(s_{t+1}) − V(s_t) within one group of G samples: float64 [G, T]."""
    same = (token_ids[:, None] == token_ids[None]) & mask[:, None] & mask[None]
    # [G, G, T]: sample j passes through the node after token t of sample i
    through = same.to(torch.int64).cumprod(dim=2).double()
    counts = through.sum(dim=1).clamp(min=1)
    after = torch.einsum("ijt,j->it", through, scores) / counts
    root = scores.mean().expand(len(scores), 1)
    return after - torch.cat([root, after[:, :-1]], dim=1)
