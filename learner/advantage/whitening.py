"""Advantages with mean 0 and variance 1 over a step."""

from __future__ import annotations

from torch import Tensor

from learner.step_tensors import check_step_shape

EPSILON = 1e-8


def whiten(advantages: Tensor, mask: Tensor) -> Tensor:
    """Shift and scale [S, T] to mean 0 and (population) variance 1 over the masked-in entries.

    The statistics are those of the response tokens of the entire step, before FGO's mask: a token's
    advantage must not depend on how much of its neighbours' code was executed.

    1, 2, 3, 6: mean 3, variance 3.5, so −1.0690, −0.5345, 0, 1.6036.
    """
    check_step_shape(advantages, mask)
    count = mask.sum().clamp(min=1)
    mean = (advantages * mask).sum() / count
    variance = ((advantages - mean).square() * mask).sum() / count
    return (advantages - mean) * (variance + EPSILON).rsqrt() * mask
