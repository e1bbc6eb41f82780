"""KL reward, GAE, whitening: expected arrays written out."""

from __future__ import annotations

import pytest
import torch

from learner.advantage.gae import generalised_advantages
from learner.advantage.rewards import token_rewards
from learner.advantage.whitening import whiten
from learner.loss.value import explained_variance

MASK = torch.tensor([[True, True, True], [True, False, False]])


def test_the_score_lands_on_the_last_real_token_and_the_penalty_on_every_one() -> None:
    policy = torch.tensor([[-1.0, -1.0, -2.0], [-0.5, 9.0, 9.0]])
    reference = torch.tensor([[-2.0, -1.0, -1.0], [-0.5, 0.0, 0.0]])

    rewards = token_rewards(torch.tensor([1.0, -0.6]), policy, reference, MASK, beta=0.5)

    # −0.5·(1, 0, −1) and + 1 at the end; −0.5·0 and −0.6; padding earns nothing
    assert rewards.tolist() == [[-0.5, 0.0, 1.5], [pytest.approx(-0.6), 0.0, 0.0]]


def test_gae_with_lambda_one_is_the_return_minus_the_value() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0], [3.0, 0.0, 0.0]])
    values = torch.tensor([[0.5, 1.0, 1.5], [1.0, 77.0, 77.0]])

    result = generalised_advantages(rewards, values, MASK, gamma=1.0, gae_lambda=1.0)

    assert result.tolist() == [[6.5, 5.0, 2.5], [2.0, 0.0, 0.0]]


def test_gae_with_lambda_zero_is_the_one_step_error() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0], [3.0, 0.0, 0.0]])
    values = torch.tensor([[0.5, 1.0, 1.5], [1.0, 77.0, 77.0]])

    result = generalised_advantages(rewards, values, MASK, gamma=0.5, gae_lambda=0.0)

    # 1 + 0.5·1 − 0.5, 2 + 0.5·1.5 − 1, 4 − 1.5; padding's value never enters
    assert result.tolist() == [[1.0, 1.75, 2.5], [2.0, 0.0, 0.0]]


def test_whitening_ignores_padding_and_leaves_it_zero() -> None:
    raw = torch.tensor([[1.0, 2.0, 3.0], [6.0, 100.0, -100.0]])

    result = whiten(raw, MASK)

    # of 1 2 3 6: mean 3, variance (4 + 1 + 0 + 9)/4 = 3.5, deviation 1.8708287
    expected = [[-1.0690450, -0.5345225, 0.0], [1.6035675, 0.0, 0.0]]
    assert torch.allclose(result, torch.tensor(expected), atol=1e-6)


def test_equal_advantages_whiten_to_zero_not_to_nan() -> None:
    result = whiten(torch.full((2, 3), 0.25), MASK)

    assert result.tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_values_that_are_the_returns_explain_all_of_their_variance() -> None:
    returns = torch.tensor([1.0, 2.0, 3.0, 6.0])

    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(returns, torch.zeros(4)) == 0.0
    assert explained_variance(torch.ones(4), returns) == 0.0


def test_a_wrong_rank_or_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[samples, tokens\] \(2, 3\), not \(3,\)"):
        whiten(torch.zeros(3), MASK)
    with pytest.raises(TypeError, match="give bool"):
        whiten(torch.zeros(2, 3), MASK.float())
    with pytest.raises(ValueError, match="the batch has 2 samples"):
        token_rewards(torch.zeros(3), torch.zeros(2, 3), torch.zeros(2, 3), MASK, beta=0.1)
