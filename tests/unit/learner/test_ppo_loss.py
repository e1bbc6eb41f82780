"""The losses at their edges; their middle is in test_ppo_step.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learner import ppo_loss


def gradient_of_policy_loss(logprobs: list[float], keep: list[bool]) -> Tensor:
    parameter = torch.tensor(logprobs, requires_grad=True)
    zeros = torch.zeros(len(logprobs))
    ppo_loss.policy_loss(
        parameter,
        zeros,
        torch.ones(len(logprobs)),
        torch.ones(len(logprobs)),
        torch.tensor(keep),
        ratio_clip=0.2,
        kept_tokens=sum(keep),
    ).backward()
    assert parameter.grad is not None
    return parameter.grad


def test_a_masked_token_gets_exactly_zero_policy_gradient() -> None:
    gradient = gradient_of_policy_loss([0.0, 0.1, 0.0], [True, False, True])

    assert gradient.tolist() == [-0.5, 0.0, -0.5]


def test_a_masked_token_whose_ratio_overflows_brings_no_nan() -> None:
    gradient = gradient_of_policy_loss([0.0, 200.0], [True, False])

    assert gradient.tolist() == [-1.0, 0.0]


def test_micro_batches_add_up_to_the_whole_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    now, old, aim = (torch.randn(6, generator=generator) for _ in range(3))
    keep = torch.tensor([True, True, False, True, True, False])

    def loss(part: slice) -> float:
        return float(
            ppo_loss.policy_loss(
                now[part],
                old[part],
                aim[part],
                torch.ones(6)[part],
                keep[part],
                ratio_clip=0.2,
                kept_tokens=4,
            )
        )

    assert loss(slice(0, 2)) + loss(slice(2, 6)) == pytest.approx(loss(slice(0, 6)))
    assert loss(slice(0, 0)) == 0.0


def test_the_correction_is_capped_from_above_only_and_carries_no_gradient() -> None:
    old = torch.tensor([-1.0, -1.0, -6.0], requires_grad=True)

    weights = ppo_loss.correction_weights(old, torch.tensor([-4.0, -1.0, -1.0]), 2.0)

    assert weights.tolist() == [2.0, 1.0, pytest.approx(0.006737947)]  # e³ -> 2, e⁰, e⁻⁵
    assert not weights.requires_grad


def test_tensors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[tokens\] \(2,\), not \(3,\)"):
        ppo_loss.kl_from_old(torch.zeros(2), torch.zeros(3))
