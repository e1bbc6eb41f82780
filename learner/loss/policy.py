"""The policy's loss: what a token's ratio and advantage are worth, under FGO's mask.

`policy_loss` masks, weighs and divides; a surrogate objective is a function of its own, so that
mask, correction and normaliser are the same for all of them. To add one: a function here, a line in
`SURROGATES`, the key that chooses (`ppo_step.py` takes "ppo" now), and a worked example in
tests/unit/learner/test_policy_loss.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from learner.loss import check_tokens
from stepcoder_dist.config import LearnerConfig


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PolicyTokens:
    """What a policy's loss sees of a micro-batch with N completion tokens."""

    logprobs: Tensor
    """float32 [N]: log π_θ, with its gradient."""
    old_logprobs: Tensor
    """float32 [N]: log π_old."""
    advantages: Tensor
    """float32 [N]."""
    corrections: Tensor
    """float32 [N]: what a token's objective is multiplied by (correction.py)."""
    keep: Tensor
    """bool [N]: tokens that carry loss."""
    samples: Tensor
    """int64 [N]: the token's sample. All tokens of a sample are here, so that an objective can be
    that of a sequence."""

    def __post_init__(self) -> None:
        check_tokens(
            self.logprobs,
            self.old_logprobs,
            self.advantages,
            self.corrections,
            self.keep,
            self.samples,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """A surrogate's result for each token."""

    values: Tensor
    """float32 [N]: the value to maximise; finite also where `keep` is False."""
    clipped: Tensor
    """bool [N]: the token has no gradient because the clip is active on it."""


Surrogate = Callable[[PolicyTokens, LearnerConfig], Objective]


def ppo(tokens: PolicyTokens, learner: LearnerConfig) -> Objective:
    """PPO's clipped surrogate (arXiv 1707.06347, Eq. 7): min(r A, clip(r, 1 ± ε) A), r = π_θ/π_old.

    ε = 0.2: ratio 1.35 with advantage 1 is 1.2 and clipped; ratio 0.74 with advantage 1 is 0.74.
    """
    # masked before the exponential: an overflowing ratio must not bring in 0 · inf = nan
    ratios = torch.where(tokens.keep, tokens.logprobs - tokens.old_logprobs, 0.0).exp()
    low, high = 1 - learner.ratio_clip, 1 + learner.ratio_clip
    aims = tokens.advantages
    values = torch.minimum(ratios * aims, ratios.clamp(low, high) * aims)
    clipped = ((ratios > high) & (aims > 0)) | ((ratios < low) & (aims < 0))
    return Objective(values, clipped)


SURROGATES: dict[str, Surrogate] = {"ppo": ppo}
"""Surrogate objectives by name."""


def policy_loss(
    tokens: PolicyTokens, surrogate: Surrogate, learner: LearnerConfig, *, kept_tokens: int
) -> tuple[Tensor, Tensor]:
    """−Σ keep · correction · objective / kept_tokens, and how many kept tokens are clipped.

    FGO's mask is that of arXiv 2402.01391, Eq. 5: a token that is not kept has exactly zero
    gradient. `kept_tokens` is the count of the entire update, on all ranks.
    """
    objective = surrogate(tokens, learner)
    total = (tokens.keep * tokens.corrections * objective.values).sum()
    return -total / max(kept_tokens, 1), (objective.clipped & tokens.keep).sum()
