"""The policy's loss at its edges; its middle is in test_ppo_step.py."""

from __future__ import annotations

import pytest
import torch
from policy_tokens import tokens

from learner.loss.kl import kl_from_old
from learner.loss.normaliser import Normaliser
from learner.loss.policy import policy_loss
from learner.loss.surrogates import SURROGATES, ppo
from stepcoder_dist.config import LearnerConfig

LEARNER = LearnerConfig(ratio_clip=0.2)


def gradient_of_policy_loss(
    logprobs: list[float], keep: list[bool], loss_name: str = "ppo"
) -> list[float]:
    parameter = torch.tensor(logprobs, requires_grad=True)
    given = tokens(parameter, keep)
    objective = SURROGATES[loss_name](given, LEARNER)
    loss, _ = policy_loss(given, objective, Normaliser(total=sum(keep)))
    loss.backward()
    assert parameter.grad is not None
    return parameter.grad.tolist()


@pytest.mark.parametrize("loss_name", ["ppo", "clip_higher", "dual_clip"])
def test_a_masked_token_gets_exactly_zero_policy_gradient(loss_name: str) -> None:
    gradient = gradient_of_policy_loss([0.0, 0.1, 0.0], [True, False, True], loss_name)
    assert gradient == [-0.5, 0.0, -0.5]


@pytest.mark.parametrize("loss_name", SURROGATES)
def test_a_masked_token_whose_ratio_overflows_brings_no_nan(loss_name: str) -> None:
    assert gradient_of_policy_loss([0.0, 200.0], [True, False], loss_name) == [-1.0, 0.0]


@pytest.mark.parametrize("loss_name", SURROGATES)
def test_where_nothing_has_moved_every_loss_has_the_gradient_of_reinforce(loss_name: str) -> None:
    gradient = gradient_of_policy_loss([0.0, 0.0, 0.0], [True, True, False], loss_name)
    assert gradient == pytest.approx([-0.5, -0.5, 0.0])


@pytest.mark.parametrize("loss_name", SURROGATES)
def test_a_tokens_weight_multiplies_its_gradient_and_not_the_count(loss_name: str) -> None:
    parameter = torch.zeros(3, requires_grad=True)
    given = tokens(parameter, [True, True, False], weights=torch.tensor([0.25, 2.0, 2.0]))
    objective = SURROGATES[loss_name](given, LEARNER)
    policy_loss(given, objective, Normaliser(total=2))[0].backward()
    assert parameter.grad is not None
    assert parameter.grad.tolist() == pytest.approx([-0.125, -1.0, 0.0])


def test_only_kept_tokens_are_counted_as_clipped() -> None:
    given = tokens(torch.tensor([0.3, 0.3]), [True, False])
    _, clipped = policy_loss(given, ppo(given, LEARNER), Normaliser(total=1))
    assert clipped.item() == 1


def test_micro_batches_add_up_to_the_loss_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    now, old, aim = (torch.randn(6, generator=generator) for _ in range(3))
    keep = [True, True, False, True, True, False]

    def loss(part: slice) -> float:
        given = tokens(now[part], keep[part], old_logprobs=old[part], advantages=aim[part])
        return float(policy_loss(given, ppo(given, LEARNER), Normaliser(total=4))[0])

    assert loss(slice(0, 2)) + loss(slice(2, 6)) == pytest.approx(loss(slice(0, 6)))


@pytest.mark.parametrize("loss_name", SURROGATES)
def test_a_micro_batch_without_samples_has_loss_zero(loss_name: str) -> None:
    given = tokens(torch.zeros(0, requires_grad=True), [])
    loss, clipped = policy_loss(
        given, SURROGATES[loss_name](given, LEARNER), Normaliser(total=4, shares=torch.ones(2))
    )
    loss.backward()
    assert (loss.item(), clipped.item()) == (0.0, 0)


def test_tensors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[tokens\] \(2,\), not \(3,\)"):
        kl_from_old(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match=r"expected \[tokens\] \(2,\), not \(3,\)"):
        tokens(torch.zeros(2), [True, True], advantages=torch.zeros(3))
