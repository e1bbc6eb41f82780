"""Advantages without a critic: the docstrings' examples by hand, and what holds for any groups."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from learner.advantage.dr_grpo import group_centred
from learner.advantage.groups import flat_share, over_tokens
from learner.advantage.grpo import group_normalised
from learner.advantage.reinforce_pp import rewards_to_go
from learner.advantage.rewards import sequence_returns
from learner.advantage.rloo import leave_one_out
from learner.advantage.tempo import tree_advantages

RULES = [group_normalised, leave_one_out, group_centred]

# seven samples of three groups, interleaved: 1 −0.3 −0.3 1 | −0.6 −0.6 | −1
GROUPS = torch.tensor([0, 1, 0, 2, 0, 1, 0])
SCORES = torch.tensor([1.0, -0.6, -0.3, -1.0, -0.3, -0.6, 1.0])


def test_grpo_is_the_score_less_the_groups_mean_by_its_deviation() -> None:
    # mean 0.35, deviations ±0.65, so 0.65 is their size; the second group is flat, the third alone
    assert group_normalised(SCORES, GROUPS).tolist() == [
        pytest.approx(1.0, abs=1e-5),
        0.0,
        pytest.approx(-1.0, abs=1e-5),
        0.0,
        pytest.approx(-1.0, abs=1e-5),
        0.0,
        pytest.approx(1.0, abs=1e-5),
    ]


def test_rloo_is_the_return_less_the_mean_of_the_others() -> None:
    # 1 − (−0.3 − 0.3 + 1)/3 = 0.8666667;  −0.3 − (1 − 0.3 + 1)/3 = −0.8666667
    assert leave_one_out(SCORES, GROUPS).tolist() == [
        pytest.approx(0.8666667),
        0.0,
        pytest.approx(-0.8666667),
        0.0,
        pytest.approx(-0.8666667),
        0.0,
        pytest.approx(0.8666667),
    ]


def test_dr_grpo_is_the_score_less_the_groups_mean() -> None:
    assert group_centred(SCORES, GROUPS).tolist() == pytest.approx(
        [0.65, 0.0, -0.65, 0.0, -0.65, 0.0, 0.65]
    )


def test_reinforce_pp_is_the_sum_of_this_and_all_later_rewards() -> None:
    rewards = torch.tensor([[-0.05, 0.1, 0.9], [-0.1, -0.35, 7.0]])
    mask = torch.tensor([[True] * 3, [True, True, False]])
    # 0.9 + 0.1 − 0.05 = 0.95, 1, 0.9;  −0.45, −0.35
    found = rewards_to_go(rewards, mask)
    assert found[0].tolist() == pytest.approx([0.95, 1.0, 0.9])
    assert found[1].tolist() == pytest.approx([-0.45, -0.35, 0.0])


def test_tempo_gives_more_credit_where_a_groups_samples_part() -> None:
    # a b, a c, d e with scores 1, 0, 0, and another group between them
    ids = torch.tensor([[1, 2], [1, 2], [1, 3], [4, 5]])
    mask = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
    scores, groups = torch.tensor([1.0, 0.5, 0.0, 0.0]), torch.tensor([0, 1, 0, 0])

    found = tree_advantages(scores, groups, ids, mask)

    # mean 1/3, std √(2/9) = 0.4714045; V: root 1/3, a 1/2, a b 1, a c 0, d 0, d e 0
    #   a b: (2/3 + 1/6)/std  (2/3 + 1/2)/std;  a c: (−1/3 + 1/6)/std  (−1/3 − 1/2)/std
    #   d e: (−1/3 − 1/3)/std  (−1/3 + 0)/std
    assert found[0].tolist() == pytest.approx([1.7677670, 2.4748737], abs=1e-5)
    assert found[1].tolist() == [0.0, 0.0]
    assert found[2].tolist() == pytest.approx([-0.3535534, -1.7677670], abs=1e-5)
    assert found[3].tolist() == pytest.approx([-1.4142136, -0.7071068], abs=1e-5)


def test_tempo_is_grpo_where_no_sample_parts() -> None:
    # after their first token, which all of them choose apart, two samples have nobody beside them
    ids = torch.tensor([[1, 2, 3], [4, 2, 3]])
    found = tree_advantages(
        torch.tensor([1.0, 0.0]), torch.zeros(2, dtype=torch.int64), ids, torch.ones(2, 3) > 0
    )
    plain = group_normalised(torch.tensor([1.0, 0.0]), torch.zeros(2, dtype=torch.int64))
    assert torch.allclose(found[:, 1:], plain[:, None].expand(2, 2))
    assert found[:, 0].tolist() == pytest.approx([2.0, -2.0], abs=1e-4)


def test_the_kl_of_all_real_tokens_is_inside_a_sequences_return() -> None:
    policy = torch.tensor([[-1.0, -2.0, -0.5, -1.5], [-1.0, -0.5, 7.0, 7.0]])
    reference = torch.tensor([[-1.5, -1.0, -0.5, -2.5], [-2.0, -1.0, 0.0, 0.0]])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])

    returns = sequence_returns(torch.tensor([1.0, -0.3]), policy, reference, mask, beta=0.1)

    # 1 − 0.1·(0.5 − 1 + 0 + 1) = 0.95;  −0.3 − 0.1·(1 + 0.5) = −0.45
    assert returns.tolist() == pytest.approx([0.95, -0.45])


def test_every_real_token_has_its_samples_advantage() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    spread = over_tokens(torch.tensor([0.5, -2.0]), mask)
    assert spread.tolist() == [[0.5, 0.5], [-2.0, 0.0]]


def test_flat_are_the_samples_that_have_nobody_to_differ_from() -> None:
    assert flat_share(SCORES, GROUPS) == pytest.approx(3 / 7)


@pytest.mark.parametrize("rule", RULES)
def test_scores_that_are_no_vector_of_the_groups_length_are_refused(rule: Callable[..., Tensor]):
    with pytest.raises(ValueError, match=r"expected \[samples\] \(7,\), not \(3,\)"):
        rule(torch.zeros(3), GROUPS)
    with pytest.raises(TypeError, match=r"groups are torch\.int32; give int64"):
        rule(SCORES, GROUPS.int())


samples = st.lists(
    st.tuples(st.sampled_from([1.0, -0.3, -0.6, -1.0, 0.217]), st.integers(0, 5)),
    min_size=1,
    max_size=40,
)


def tensors(drawn: list[tuple[float, int]]) -> tuple[Tensor, Tensor]:
    numbers: dict[int, int] = {}
    groups = [numbers.setdefault(group, len(numbers)) for _, group in drawn]
    return torch.tensor([score for score, _ in drawn]), torch.tensor(groups)


@pytest.mark.parametrize("rule", RULES)
@given(drawn=samples)
def test_the_advantages_of_a_group_sum_to_nothing(
    rule: Callable[..., Tensor], drawn: list[tuple[float, int]]
) -> None:
    scores, groups = tensors(drawn)
    result = rule(scores, groups).double()
    for group in groups.unique():
        assert abs(float(result[groups == group].sum())) < 1e-5


@pytest.mark.parametrize("rule", RULES)
@given(drawn=samples, random=st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(
    rule: Callable[..., Tensor], drawn: list[tuple[float, int]], random: object
) -> None:
    order = list(range(len(drawn)))
    random.shuffle(order)  # type: ignore[attr-defined]
    scores, groups = tensors(drawn)
    shuffled = rule(scores[order], groups[order])
    assert torch.allclose(shuffled, rule(scores, groups)[order], atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
@given(drawn=samples, others=samples)
def test_other_groups_do_not_matter(
    rule: Callable[..., Tensor], drawn: list[tuple[float, int]], others: list[tuple[float, int]]
) -> None:
    alone = rule(*tensors(drawn))
    beside = rule(*tensors([*drawn, *((score, group + 100) for score, group in others)]))
    assert torch.allclose(beside[: len(drawn)], alone, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
@given(score=st.floats(-1, 1, width=32), size=st.integers(1, 64))
def test_equal_scores_have_exactly_no_advantage(
    rule: Callable[..., Tensor], score: float, size: int
) -> None:
    groups = torch.zeros(size, dtype=torch.int64)
    assert not rule(torch.full((size,), score), groups).any()
    assert flat_share(torch.full((size,), score), groups) == 1.0
