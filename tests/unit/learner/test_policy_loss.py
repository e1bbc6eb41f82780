"""The policy's loss at its edges; its middle is in test_ppo_step.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learner.loss.correction import correction_weights
from learner.loss.kl import kl_from_old
from learner.loss.policy import Objective, PolicyTokens, policy_loss, ppo
from stepcoder_dist.config import LearnerConfig

LEARNER = LearnerConfig(ratio_clip=0.2)


def tokens(logprobs: Tensor, keep: list[bool], **fields: Tensor) -> PolicyTokens:
    """π_old = 1, advantage 1 and correction 1, all of one sample, unless `fields` say otherwise."""
    count = len(logprobs)
    usual = {
        "old_logprobs": torch.zeros(count),
        "advantages": torch.ones(count),
        "corrections": torch.ones(count),
        "samples": torch.zeros(count, dtype=torch.int64),
    }
    return PolicyTokens(
        logprobs=logprobs, keep=torch.tensor(keep, dtype=torch.bool), **(usual | fields)
    )


def gradient_of_policy_loss(logprobs: list[float], keep: list[bool]) -> list[float]:
    parameter = torch.tensor(logprobs, requires_grad=True)
    loss, _ = policy_loss(tokens(parameter, keep), ppo, LEARNER, kept_tokens=sum(keep))
    loss.backward()
    assert parameter.grad is not None
    return parameter.grad.tolist()


def test_a_masked_token_gets_exactly_zero_policy_gradient() -> None:
    assert gradient_of_policy_loss([0.0, 0.1, 0.0], [True, False, True]) == [-0.5, 0.0, -0.5]


def test_a_masked_token_whose_ratio_overflows_brings_no_nan() -> None:
    assert gradient_of_policy_loss([0.0, 200.0], [True, False]) == [-1.0, 0.0]


def test_clipped_are_the_kept_tokens_that_the_advantage_would_drive_further_out() -> None:
    # ratios e^0.3 = 1.35 and e^−0.3 = 0.74 are outside 1 ± 0.2, e^0.1 = 1.11 is inside
    logprobs = torch.tensor([0.3, 0.3, -0.3, -0.3, 0.1, 0.3])
    aims = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, 1.0])

    objective = ppo(tokens(logprobs, [True] * 6, advantages=aims), LEARNER)

    assert objective.clipped.tolist() == [True, False, False, True, False, True]
    assert objective.values.tolist() == pytest.approx(
        [1.2, -1.3498588, 0.7408182, -0.8, 1.1051709, 1.2]
    )
    _, clipped = policy_loss(
        tokens(logprobs, [True] * 5 + [False], advantages=aims), ppo, LEARNER, kept_tokens=5
    )
    assert clipped.item() == 2


def test_an_objective_can_be_that_of_a_sequence() -> None:
    def sequence_ratio(given: PolicyTokens, learner: LearnerConfig) -> Objective:
        # the geometric mean of a sample's ratios, for each of its tokens
        del learner
        members = torch.nn.functional.one_hot(given.samples).float()
        ratios = given.logprobs - given.old_logprobs
        mean = members @ ((members.T @ ratios) / members.sum(dim=0))
        return Objective(mean.exp() * given.advantages, torch.zeros_like(given.keep))

    samples = torch.tensor([0, 1, 0])
    loss, _ = policy_loss(
        tokens(torch.tensor([0.1, 0.5, 0.3]), [True, True, True], samples=samples),
        sequence_ratio,
        LEARNER,
        kept_tokens=3,
    )

    # sample 0: e^0.2 = 1.2214028, twice; sample 1: e^0.5 = 1.6487213
    assert loss.item() == pytest.approx(-(2 * 1.2214028 + 1.6487213) / 3)


def test_micro_batches_add_up_to_the_loss_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    now, old, aim = (torch.randn(6, generator=generator) for _ in range(3))
    keep = [True, True, False, True, True, False]

    def loss(part: slice) -> float:
        given = tokens(now[part], keep[part], old_logprobs=old[part], advantages=aim[part])
        return float(policy_loss(given, ppo, LEARNER, kept_tokens=4)[0])

    assert loss(slice(0, 2)) + loss(slice(2, 6)) == pytest.approx(loss(slice(0, 6)))
    assert loss(slice(0, 0)) == 0.0


def test_the_correction_is_capped_from_above_only_and_carries_no_gradient() -> None:
    old = torch.tensor([-1.0, -1.0, -6.0], requires_grad=True)

    weights = correction_weights(old, torch.tensor([-4.0, -1.0, -1.0]), 2.0)

    assert weights.tolist() == [2.0, 1.0, pytest.approx(0.006737947)]  # e³ -> 2, e⁰, e⁻⁵
    assert not weights.requires_grad


def test_tensors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[tokens\] \(2,\), not \(3,\)"):
        kl_from_old(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match=r"expected \[tokens\] \(2,\), not \(3,\)"):
        tokens(torch.zeros(2), [True, True], advantages=torch.zeros(3))
