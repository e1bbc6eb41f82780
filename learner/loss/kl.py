"""Estimates of a KL divergence from sampled tokens: a function for each `learner.kl_estimator`.

All are of KL(π ‖ π_ref) for tokens sampled from π (joschu.net/blog/kl-approx.html), with
d = log π − log π_ref. Each has its line in `ESTIMATORS` and in `methods.KL_ESTIMATORS`, and a
worked example in tests/unit/learner/test_kl.py.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from learner.loss import check_tokens

MAX_LOG_RATIO = 20.0

Estimator = Callable[[Tensor, Tensor], Tensor]
"""From log π and log π_ref, of any one shape, to the estimate of each token."""


def k1(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """d: unbiased, of either sign.

    d = 0.5: 0.5. As a loss its gradient is 0 on average: config allows it in the reward only.
    """
    return logprobs - reference_logprobs


def k2(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """½ d²: biased, but its gradient as a loss is that of the KL (arXiv 2510.01555).

    d = 0.5: 0.125.
    """
    return 0.5 * (logprobs - reference_logprobs).square()


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """e^−d + d − 1: unbiased and never negative (GRPO, arXiv 2402.03300, Eq. 4).

    d = 0.5: 0.6065 + 0.5 − 1 = 0.1065.
    """
    # beyond e^20 the ratio says no more, and would soon overflow
    log_ratios = (reference_logprobs - logprobs).clamp(max=MAX_LOG_RATIO)
    return log_ratios.expm1() - log_ratios


ESTIMATORS: dict[str, Estimator] = {"k1": k1, "k2": k2, "k3": k3}
"""By the values of `learner.kl_estimator`."""


def reference_kl(
    logprobs: Tensor, reference_logprobs: Tensor, response_tokens: int, estimator: Estimator
) -> Tensor:
    """Σ of the estimate / response_tokens: the KL to the reference as a loss.

    Differentiable in π_θ. All response tokens count: what keeps the policy near the reference is
    not masked, as in the reward of the other rules.
    """
    check_tokens(logprobs, reference_logprobs)
    return estimator(logprobs, reference_logprobs).sum() / max(response_tokens, 1)


def kl_from_old(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """Estimate of KL(π_old ‖ π_θ), per token [N]: (r − 1) − log r ≥ 0.

    Never negative, small variance; a metric only.
    """
    check_tokens(logprobs, old_logprobs)
    log_ratios = logprobs - old_logprobs
    return log_ratios.expm1() - log_ratios
