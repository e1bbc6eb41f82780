"""The losses of masked PPO: pure functions on float32 tensors over the N tokens of a micro-batch.

Index i of every argument speaks of the same token. Each loss is a sum divided by a count that the
caller takes over the *whole optimiser step on all ranks*: the micro-batches' losses then add up to
the step's loss, however it was cut into micro-batches and ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0


def correction_weights(old_logprobs: Tensor, rollout_logprobs: Tensor, cap: float) -> Tensor:
    """min(π_old / π_rollout, cap) [N], detached: truncated importance sampling.

    π_old is the learner's own recomputation, π_rollout what vLLM reported; they differ by numerics,
    by top-p, and by the versions between them, so staleness enters here (arXiv 2402.01391 has none;
    the cap is that of arXiv 1606.02647 and of fengyao.notion.site/off-policy-rl).
    """
    _check(old_logprobs, rollout_logprobs)
    return (old_logprobs - rollout_logprobs).exp().clamp(max=cap).detach()


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    corrections: Tensor,
    keep: Tensor,
    *,
    ratio_clip: float,
    kept_tokens: int,
) -> Tensor:
    """PPO's clipped surrogate (arXiv 1707.06347, Eq. 7) under FGO's mask (arXiv 2402.01391, Eq. 5).

    −Σ keep · correction · min(r A, clip(r, 1 ± ε) A) / kept_tokens, r = π_θ/π_old. `keep` bool [N];
    a token that is not kept has exactly zero gradient.
    """
    _check(logprobs, old_logprobs, advantages, corrections, keep)
    # masked before the exponential: an overflowing ratio must not bring in 0 · inf = nan
    ratios = torch.where(keep, logprobs - old_logprobs, 0.0).exp()
    clipped = ratios.clamp(1 - ratio_clip, 1 + ratio_clip)
    surrogate = torch.minimum(ratios * advantages, clipped * advantages)
    return -(keep * corrections * surrogate).sum() / max(kept_tokens, 1)


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    *,
    value_clip: float,
    response_tokens: int,
) -> Tensor:
    """½ Σ max((V − R)², (V_clipped − R)²) / response_tokens: PPO2's clipped value loss.

    V_clipped stays within `value_clip` of the value before the step. All response tokens count: the
    paper masks the policy loss only.
    """
    _check(values, old_values, returns)
    clipped = old_values + (values - old_values).clamp(-value_clip, value_clip)
    worst = torch.maximum((values - returns).square(), (clipped - returns).square())
    return 0.5 * worst.sum() / max(response_tokens, 1)


def reference_kl(logprobs: Tensor, reference_logprobs: Tensor, response_tokens: int) -> Tensor:
    """Σ (π_ref/π_θ − log π_ref/π_θ − 1) / response_tokens (arXiv 2402.03300, Eq. 4).

    k3 of joschu.net/blog/kl-approx.html, differentiable in π_θ. All response tokens count: what
    keeps the policy near the reference is not masked, as in the reward of the other rules.
    """
    _check(logprobs, reference_logprobs)
    # beyond e^20 the ratio says no more, and would soon overflow
    log_ratios = (reference_logprobs - logprobs).clamp(max=MAX_LOG_RATIO)
    return (log_ratios.expm1() - log_ratios).sum() / max(response_tokens, 1)


def clipped_tokens(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, keep: Tensor, ratio_clip: float
) -> Tensor:
    """How many kept tokens get no gradient because the clip is active on them (a scalar)."""
    _check(logprobs, old_logprobs, advantages, keep)
    ratios = (logprobs - old_logprobs).exp()
    above = (ratios > 1 + ratio_clip) & (advantages > 0)
    below = (ratios < 1 - ratio_clip) & (advantages < 0)
    return ((above | below) & keep).sum()


def kl_from_old(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """Estimate of KL(π_old ‖ π_θ), per token [N]: (r − 1) − log r ≥ 0.

    k3 of joschu.net/blog/kl-approx.html: never negative, small variance; a metric only.
    """
    _check(logprobs, old_logprobs)
    log_ratios = logprobs - old_logprobs
    return log_ratios.expm1() - log_ratios


def _check(first: Tensor, *others: Tensor) -> None:
    for tensor in (first, *others):
        if tensor.ndim != 1 or tensor.shape != first.shape:
            raise ValueError(f"expected [tokens] {tuple(first.shape)}, not {tuple(tensor.shape)}")
