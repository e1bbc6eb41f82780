"""The critic's loss, and how much of the returns it explains."""

from __future__ import annotations

import torch
from torch import Tensor

from learner.loss import check_tokens


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
    check_tokens(values, old_values, returns)
    clipped = old_values + (values - old_values).clamp(-value_clip, value_clip)
    worst = torch.maximum((values - returns).square(), (clipped - returns).square())
    return 0.5 * worst.sum() / max(response_tokens, 1)


def explained_variance(returns: Tensor, values: Tensor) -> float:
    """1 − Var(returns − values) / Var(returns) over [N]; 0 where the returns are constant."""
    check_tokens(returns, values)
    spread = returns.double().var(correction=0)
    rest = (returns - values).double().var(correction=0)
    return float(1 - rest / spread) if spread > 0 else 0.0
