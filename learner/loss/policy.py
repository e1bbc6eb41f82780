"""The policy's loss: what a step's tokens are worth, under FGO's mask.

`policy_loss` masks, weighs and divides; what a token is worth is a surrogate objective
(surrogates.py), so that mask, correction and normaliser are the same for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from learner.loss import check_tokens
from learner.loss.normaliser import Normaliser


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
    weights: Tensor | None = None
    """float32 [N]: what the credit rule multiplies a token's objective by; None: 1."""

    def __post_init__(self) -> None:
        check_tokens(
            self.logprobs,
            self.old_logprobs,
            self.advantages,
            self.corrections,
            self.keep,
            self.samples,
            *(() if self.weights is None else (self.weights,)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """A surrogate's result for each token."""

    values: Tensor
    """float32 [N]: the value to maximise; finite also where `keep` is False."""
    clipped: Tensor
    """bool [N]: the clip is active on the token."""


def policy_loss(
    tokens: PolicyTokens, objective: Objective, normaliser: Normaliser
) -> tuple[Tensor, Tensor]:
    """−Σ keep · correction · weight · objective / normaliser, and how many kept tokens are clipped.

    FGO's mask is that of arXiv 2402.01391, Eq. 5: a token that is not kept has exactly zero
    gradient. The normaliser's counts are those of the entire update, on all ranks.
    """
    terms = tokens.keep * tokens.corrections * objective.values
    if tokens.weights is not None:
        terms = terms * tokens.weights
    if normaliser.shares is not None:
        terms = terms * normaliser.shares[tokens.samples]
    return -terms.sum() / normaliser.total, (objective.clipped & tokens.keep).sum()
