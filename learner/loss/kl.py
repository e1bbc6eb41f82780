"""Estimates of a KL divergence from sampled tokens (k3 of joschu.net/blog/kl-approx.html)."""

from __future__ import annotations

from torch import Tensor

from learner.loss import check_tokens

MAX_LOG_RATIO = 20.0


def reference_kl(logprobs: Tensor, reference_logprobs: Tensor, response_tokens: int) -> Tensor:
    """Σ (π_ref/π_θ − log π_ref/π_θ − 1) / response_tokens (arXiv 2402.03300, Eq. 4).

    Differentiable in π_θ. All response tokens count: what keeps the policy near the reference is
    not masked, as in the reward of the other rules.
    """
    check_tokens(logprobs, reference_logprobs)
    # beyond e^20 the ratio says no more, and would soon overflow
    log_ratios = (reference_logprobs - logprobs).clamp(max=MAX_LOG_RATIO)
    return (log_ratios.expm1() - log_ratios).sum() / max(response_tokens, 1)


def kl_from_old(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """Estimate of KL(π_old ‖ π_θ), per token [N]: (r − 1) − log r ≥ 0.

    Never negative, small variance; a metric only.
    """
    check_tokens(logprobs, old_logprobs)
    log_ratios = logprobs - old_logprobs
    return log_ratios.expm1() - log_ratios
