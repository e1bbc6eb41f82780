"""The surrogate objectives by hand: values, clips and gradients."""

from __future__ import annotations

import pytest
import torch
from policy_tokens import tokens
from torch import Tensor

from learner.loss.surrogates import SURROGATES, cispo, clip_higher, dual_clip, gspo, ppo
from stepcoder_dist import methods
from stepcoder_dist.config import LearnerConfig

LEARNER = LearnerConfig(ratio_clip=0.2, ratio_clip_high=0.28, dual_clip=3.0)

# ratios e^0.3 = 1.3498588 and e^−0.3 = 0.7408182 are outside 1 ± 0.2, e^0.1 = 1.1051709 is inside
LOGPROBS = [0.3, 0.3, -0.3, -0.3, 0.1]
AIMS = [1.0, -1.0, 1.0, -1.0, 1.0]


def given(logprobs: list[float], aims: list[float], **fields: Tensor):  # type: ignore[no-untyped-def]
    return tokens(
        torch.tensor(logprobs, requires_grad=True),
        [True] * len(logprobs),
        advantages=torch.tensor(aims),
        **fields,
    )


def test_ppo_clips_where_the_advantage_would_drive_a_token_further_out() -> None:
    objective = ppo(given(LOGPROBS, AIMS), LEARNER)

    assert objective.clipped.tolist() == [True, False, False, True, False]
    assert objective.values.tolist() == pytest.approx([1.2, -1.3498588, 0.7408182, -0.8, 1.1051709])


def test_clip_higher_has_an_upper_side_of_its_own() -> None:
    objective = clip_higher(given(LOGPROBS, AIMS), LEARNER)

    # as ppo, but 1.28 and not 1.2 above
    assert objective.clipped.tolist() == [True, False, False, True, False]
    assert objective.values.tolist() == pytest.approx(
        [1.28, -1.3498588, 0.7408182, -0.8, 1.1051709]
    )
    inside = clip_higher(given([0.24], [1.0]), LEARNER)  # e^0.24 = 1.2712492
    assert (inside.clipped.item(), inside.values.item()) == (False, pytest.approx(1.2712492))


def test_dual_clip_bounds_a_grown_ratio_of_a_negative_advantage() -> None:
    # ratios e^1.5 = 4.4816891, e^1 = 2.7182818, and e^1.5 with a positive advantage: clipped at 1.2
    tried = given([1.5, 1.0, 1.5], [-1.0, -2.0, 1.0])

    objective = dual_clip(tried, LEARNER)

    assert objective.values.tolist() == pytest.approx([-3.0, -5.4365637, 1.2])
    assert objective.clipped.tolist() == [True, False, True]
    objective.values.sum().backward()
    assert tried.logprobs.grad.tolist() == pytest.approx([0.0, -5.4365637, 0.0])


def test_gspo_is_one_ratio_for_the_kept_tokens_of_a_sample() -> None:
    # sample 0: (0.1 + 0.3)/2 = 0.2, the masked 5 apart; sample 1: 0.5. ε 0.3 and 0.4
    logprobs = torch.tensor([0.1, 0.5, 0.3, 5.0], requires_grad=True)
    tried = tokens(
        logprobs,
        [True, True, True, False],
        samples=torch.tensor([4, 7, 4, 4]),
        advantages=torch.tensor([1.0, 1.0, -1.0, 1.0]),
    )

    objective = gspo(tried, LearnerConfig(sequence_clip=(0.3, 0.4)))

    # e^0.2 = 1.2214028 within 1.4; e^0.5 = 1.6487213 is clipped to it
    assert objective.values[:3].tolist() == pytest.approx([1.2214028, 1.4, -1.2214028])
    assert objective.clipped[:3].tolist() == [False, True, False]
    (objective.values * tried.keep).sum().backward()
    assert logprobs.grad.tolist() == pytest.approx([1.2214028, 0.0, -1.2214028, 0.0])


def test_gspo_divided_by_sequence_has_the_gradient_of_the_geometric_mean() -> None:
    logprobs = torch.tensor([0.0001, 0.0003], requires_grad=True)
    (gspo(tokens(logprobs, [True, True]), LEARNER).values.sum() / 2).backward()
    by_hand = torch.tensor([0.0001, 0.0003], requires_grad=True)
    by_hand.mean().exp().backward()
    assert logprobs.grad.tolist() == pytest.approx(by_hand.grad.tolist())


def test_cispo_weighs_each_log_prob_by_a_capped_ratio() -> None:
    # π_old e^−0.8, e^−0.2: ratios e^0.3 capped at 1.28, and e^−0.3
    tried = given([-0.5, -0.5], [1.0, 1.0], old_logprobs=torch.tensor([-0.8, -0.2]))

    objective = cispo(tried, LEARNER)

    assert objective.values.tolist() == pytest.approx([-0.64, -0.3704091])
    assert objective.clipped.tolist() == [True, False]
    objective.values.sum().backward()
    # the gradient is the weight itself: a capped token still has one
    assert tried.logprobs.grad.tolist() == pytest.approx([1.28, 0.7408182])


@pytest.mark.parametrize("name", SURROGATES)
def test_every_loss_names_its_source(name: str) -> None:
    assert "arXiv" in str(SURROGATES[name].__doc__)


def test_the_registry_has_every_loss() -> None:
    assert SURROGATES.keys() == methods.LOSSES.keys()
