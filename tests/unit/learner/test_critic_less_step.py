"""Optimiser steps without a critic on the six tokens of test_ppo_step.py.

Both samples are of one group; score +1 and −0.3, β = 0.1, ratio clip 0.2, correction cap 2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_ppo_step import NOW, OLD, Table, batch, ppo, process_group

from learner.loss.normaliser import NORMALISERS
from learner.loss.surrogates import SURROGATES
from learner.ppo_step import PpoStep
from learner.step_tensors import StepTensors

__all__ = ["process_group"]

pytestmark = pytest.mark.usefixtures("process_group")


def step(policy: Table, advantage: str, **learner: object) -> PpoStep:
    """A step of one minibatch, where two are planned: π_old is asked before it."""
    return ppo(policy, None, advantage=advantage, **({"samples_per_step": 4} | learner))


@pytest.mark.parametrize("microbatch_samples", [1, 2])
def test_a_grpo_step_is_what_the_arithmetic_by_hand_gives(microbatch_samples: int) -> None:
    policy = Table(OLD, NOW)

    metrics = step(policy, "grpo", microbatch_samples=microbatch_samples).run(batch(), 0)

    # mean 0.35, deviation 0.65: advantages +1 for A, −1 for B, on all of their tokens
    assert metrics["advantage_std"] == pytest.approx(np.std([1, 1, 1, 1, -1, -1]), abs=1e-5)
    assert metrics["flat_share"] == 0.0
    # ratios, clip and corrections as in test_ppo_step.py:
    #   A0 1.1051709   A1 1.2214028 · 1.2 = 1.4656834   A2 masked   A3 0.7408182
    #   B0 2 · 0.8 · −1 = −1.6   B1 −1.3498588;   sum 0.3618137, by 5 kept tokens
    assert metrics["policy_loss"] == pytest.approx(-0.0723627, abs=1e-5)
    # d = log π_ref − log π_θ:   −0.6   0.7   −1.0   −0.7 | −0.7   −0.8
    # e^d − 1 − d:   0.1488116  0.3137527  0.3678794  0.1965853 | 0.1965853  0.2493290
    # sum 1.4729433, times 0.1, by 6 response tokens: masked token A2 counts here
    assert metrics["kl_loss"] == pytest.approx(0.0245491, abs=1e-6)
    # new entry = old − (gradient of the surrogate: −term/5 where not clipped) − (1 − e^d)/60:
    #   A0 −0.9 + 0.2210342 − 0.0075198   A1 −1.7 + 0.0168959   A2 0.5 − 0.0105353
    #   A3 −1.8 + 0.1481636 − 0.0083902   B0 −1.3 − 0.0083902   B1 −0.2 − 0.2699718 − 0.0091778
    assert policy.parameters[1:7].tolist() == pytest.approx(
        [-0.6864856, -1.6831041, 0.4894647, -1.6602266, -1.3083902, -0.4791496], abs=1e-5
    )


def test_an_rloo_step_is_what_the_arithmetic_by_hand_gives() -> None:
    policy = Table(OLD, NOW)

    metrics = step(policy, "rloo").run(batch(), 0)

    # returns 1 − 0.1·0.5 = 0.95 and −0.3 − 0.1·1.5 = −0.45: advantages ±1.4, and GRPO's sum
    assert metrics["policy_loss"] == pytest.approx(-1.4 * 0.3618137 / 5, abs=1e-5)
    # only the surrogate has a gradient: clipped and masked tokens stay
    #   A0 −0.9 + 1.4 · 0.2210342   A3 −1.8 + 1.4 · 0.1481636   B1 −0.2 − 1.4 · 0.2699718
    assert policy.parameters[1:7].tolist() == pytest.approx(
        [-0.5905521, -1.7, 0.5, -1.5925710, -1.3, -0.5779605], abs=1e-5
    )
    assert "kl_loss" not in metrics


def test_a_step_of_one_update_takes_pi_old_from_its_training_pass() -> None:
    policy = Table(OLD, NOW)

    metrics = step(policy, "grpo", samples_per_step=2, kl_beta=0.0).run(batch(), 0)

    assert policy.asked == []
    # log π_θ − log π_rollout:   0.1  0.5  0.9  −0.3 | 1.7  0.3, as corrections capped at 2
    assert metrics["logprob_mismatch"] == pytest.approx(3.8 / 6, abs=1e-6)
    # ratio 1:   1.1051709 + 1.6487213 + 0.7408182 − 2 − 1.3498588 = 0.1448516
    assert metrics["policy_loss"] == pytest.approx(-0.1448516 / 5, abs=1e-5)
    assert (metrics["clip_fraction"], metrics["approx_kl"]) == (0.0, 0.0)
    assert metrics["entropy"] == pytest.approx(0.7)
    assert policy.parameters[1:7].tolist() == pytest.approx(
        [-0.6789658, -1.3702557, 0.5, -1.6518364, -1.7, -0.4699718], abs=1e-5
    )
    # β = 0: there is no reference
    assert not metrics.keys() & {"kl_reference", "kl_loss"}


@pytest.mark.parametrize(
    "more",
    [
        {"epochs": 2},
        {"minibatch_samples": 1},
        {"advantage": "rloo", "kl_beta": 0.1},
        {"lora": {"dropout": 0.1}},
    ],
)
def test_pi_old_is_asked_where_a_training_pass_is_another_or_the_reward_needs_it(
    more: dict[str, object],
) -> None:
    policy = Table(OLD, NOW)
    one_update = {"advantage": "grpo", "samples_per_step": 2, "kl_beta": 0.0}
    ppo(policy, None, **(one_update | more)).run(batch(), 0)
    assert sorted(policy.asked) == [1, 2, 3, 4, 5, 6]


def flat_and_not() -> list[Any]:
    """The two samples, and two more of a group whose rewards are equal."""

    def other(sample: Any, start: int) -> Any:
        ids = np.arange(start, start + 2, dtype=np.int32)
        ticket = replace(sample.ticket, sample_id=f"h{start}", group="h")
        two = {"rollout_logprobs": sample.rollout_logprobs[:2], "keep": np.array([True, True])}
        return replace(sample, ticket=ticket, completion_ids=ids, reward=1.0, **two)

    first, second = batch()
    return [first, other(first, 7), second, other(second, 9)]


@pytest.mark.parametrize("samples_per_step", [4, 8])
def test_samples_without_a_gradient_are_left_out_of_training_and_change_no_other(
    samples_per_step: int,
) -> None:
    old, now = [*OLD, -1.0, -1.0, -1.0, -1.0], [*NOW, -2.0, -2.0, -2.0, -2.0]
    policy = Table(old, now)
    sizes = {"samples_per_step": samples_per_step, "minibatch_samples": 4, "kl_beta": 0.0}

    metrics = step(policy, "grpo", **sizes).run(flat_and_not(), 0)

    assert sorted(policy.trained) == [1, 2, 3, 4, 5, 6]
    # the flat group's tokens are kept and divide the loss: 9 of 10
    assert metrics["kept_share"] == pytest.approx(9 / 10)
    total = 0.1448516 if samples_per_step == 4 else 0.3618137
    assert metrics["policy_loss"] == pytest.approx(-total / 9, abs=1e-5)
    assert policy.parameters[7:11].tolist() == now[6:]


@pytest.mark.parametrize(
    ("normaliser", "divided"),
    [
        # A 1.1051709 + 1.4656834 + 0.7408182 by 3 kept, B −2.9498588 by 2; four samples
        ("sequence", (3.3116725 / 3 - 2.9498588 / 2) / 4),
        ("constant", 0.3618137 / (4 * 5)),
    ],
)
def test_samples_that_are_left_out_of_training_still_count(normaliser: str, divided: float) -> None:
    policy = Table([*OLD, *[-1.0] * 4], [*NOW, *[-2.0] * 4])
    sizes = {"samples_per_step": 8, "minibatch_samples": 4, "kl_beta": 0.0}
    keys = {"normaliser": normaliser, "normaliser_tokens": 5}

    metrics = step(policy, "grpo", **sizes, **keys).run(flat_and_not(), 0)

    assert sorted(policy.trained) == [1, 2, 3, 4, 5, 6]
    assert metrics["policy_loss"] == pytest.approx(-divided, abs=1e-5)


def test_samples_that_are_not_selected_do_not_count() -> None:
    policy = Table([*OLD, *[-1.0] * 4], [*NOW, *[-2.0] * 4])
    sizes = {"samples_per_step": 8, "minibatch_samples": 4, "kl_beta": 0.0}

    metrics = step(policy, "grpo", **sizes, selection="drop_flat").run(flat_and_not(), 0)

    # 5 kept tokens, not 9
    assert metrics["kept_share"] == pytest.approx(5 / 10)
    assert metrics["policy_loss"] == pytest.approx(-0.3618137 / 5, abs=1e-5)


def test_with_a_kl_loss_every_sample_is_trained() -> None:
    policy = Table([*OLD, *[-1.0] * 4], [*NOW, *[-2.0] * 4])
    network = ppo(policy, None, advantage="grpo", samples_per_step=8, minibatch_samples=4)
    network._reference = Table([*OLD, *[-1.0] * 4], [*OLD, *[-1.0] * 4])

    network.run(flat_and_not(), 0)

    assert sorted(policy.trained) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_a_step_whose_groups_are_all_flat_measures_nothing_of_what_no_pass_saw() -> None:
    policy = Table(OLD, NOW)
    flat = [replace(sample, reward=1.0) for sample in batch()]
    metrics = step(policy, "grpo", samples_per_step=2, kl_beta=0.0).run(flat, 0)
    assert policy.trained == policy.asked == []
    assert metrics["policy_loss"] == 0.0
    assert metrics["flat_share"] == 1.0
    assert not metrics.keys() & {"entropy", "logprob_mismatch", "correction_mean"}


def test_a_reinforce_pp_step_is_what_the_arithmetic_by_hand_gives() -> None:
    metrics = step(Table(OLD, NOW), "reinforce_pp").run(batch(), 0)

    # rewards −0.1·KL with the score at the end:  −0.05  0.1  0  0.9 | −0.1  −0.35
    # this and all later ones:                     0.95  1.0  0.9  0.9 | −0.45  −0.35
    assert metrics["advantage_std"] == pytest.approx(
        np.std([0.95, 1.0, 0.9, 0.9, -0.45, -0.35]), abs=1e-6
    )
    assert "kl_loss" not in metrics


@pytest.mark.parametrize("loss", SURROGATES)
@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_a_step_does_not_depend_on_how_it_is_cut(loss: str, normaliser: str) -> None:
    keys = {"loss": loss, "normaliser": normaliser, "correction": "sequence", "kl_estimator": "k2"}
    found = []
    for together in (1, 2):
        policy = Table(OLD, NOW)
        metrics = step(policy, "tempo", microbatch_samples=together, **keys).run(batch(), 0)
        found.append([metrics["policy_loss"], metrics["kl_loss"], *policy.parameters.tolist()])
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_the_normaliser_of_a_step_is_by_its_samples() -> None:
    # terms of test_a_grpo_step...: A 1.1051709 + 1.4656834 + 0.7408182 of 3, B −2.9498588 of 2
    sequence = step(Table(OLD, NOW), "grpo", normaliser="sequence").run(batch(), 0)
    assert sequence["policy_loss"] == pytest.approx(-(3.3116725 / 3 - 2.9498588 / 2) / 2, abs=1e-5)
    constant = step(Table(OLD, NOW), "grpo", normaliser="constant", normaliser_tokens=4)
    assert constant.run(batch(), 0)["policy_loss"] == pytest.approx(-0.3618137 / 8, abs=1e-5)


def test_the_kl_goes_where_the_key_says() -> None:
    def figures(**keys: object) -> dict[str, float]:
        return step(Table(OLD, NOW), "grpo", **keys).run(batch(), 0)

    assert "kl_loss" not in figures(kl_in="none")
    # returns 0.95 and −0.45 (as under rloo): normalised ±1 again, so only kl_loss is missing
    inside = figures(kl_in="reward")
    assert "kl_loss" not in inside
    assert inside["policy_loss"] == pytest.approx(-0.0723627, abs=1e-5)
    # ½ d² of d = 0.6 −0.7 1.0 0.7 0.7 0.8: 0.18 + 0.245 + 0.5 + 0.245 + 0.245 + 0.32 = 1.735
    assert figures(kl_estimator="k2")["kl_loss"] == pytest.approx(0.1 * 1.735 / 6, abs=1e-6)


def test_a_step_of_which_nothing_is_selected_changes_nothing() -> None:
    flat = [replace(sample, reward=1.0) for sample in batch()]
    policy = Table(OLD, NOW)

    metrics = step(policy, "grpo", selection="drop_flat").run(flat, 0)

    assert metrics == {"response_tokens": 6.0, "kept_share": 0.0}
    assert policy.updates == 0


@pytest.mark.parametrize("advantage", ["grpo", "rloo", "dr_grpo", "reinforce_pp", "tempo"])
def test_no_figure_speaks_of_a_critic_and_no_step_waits_for_one(advantage: str) -> None:
    policy = Table(OLD, NOW)
    metrics = step(policy, advantage, critic_warmup_steps=5).run(batch(), 0)
    assert not metrics.keys() & {"value_loss", "explained_variance", "grad_norm_critic"}
    assert policy.updates == 1


def test_the_sign_of_the_advantage_chooses_the_mask_and_the_count_is_of_what_is_kept() -> None:
    first, second = batch()
    signed = [
        replace(first, blame=np.array([False, False, True, False])),
        replace(second, keep=np.array([False, False]), blame=np.array([True, False])),
    ]

    metrics = step(Table(OLD, NOW), "grpo").run(signed, 0)

    # A keeps A0, A1, A3 by `keep`; B keeps B0 by `blame`: 1.1051709 + 1.4656834 + 0.7408182 − 1.6
    assert metrics["kept_share"] == pytest.approx(4 / 6)
    assert metrics["policy_loss"] == pytest.approx(-1.7116725 / 4, abs=1e-5)


def test_a_step_whose_signs_leave_nothing_to_keep_changes_nothing() -> None:
    first, second = batch()
    nothing, every = np.zeros(4, dtype=np.bool_), np.ones(4, dtype=np.bool_)
    wrong_way = [
        replace(first, keep=nothing, blame=every),  # advantage +1
        replace(second, keep=every[:2], blame=nothing[:2]),  # advantage −1
    ]
    policy = Table(OLD, NOW)

    metrics = step(policy, "grpo").run(wrong_way, 0)

    assert metrics == {"response_tokens": 6.0, "kept_share": 0.0}
    assert policy.updates == 0


def test_samples_are_compared_within_the_group_that_their_tickets_name() -> None:
    sample = batch()[0]

    def of(sample_id: str, group: str, problem: str = "a") -> Any:
        ticket = replace(sample.ticket, sample_id=sample_id, group=group, problem_id=problem)
        return replace(sample, ticket=ticket)

    tensors = StepTensors.of(
        [
            of("s000004-0000-0000", "s000004-0000"),
            of("s000004-0001-0000", "s000004-0001", problem="b"),
            of("s000004-0000-0001+0007", "s000004-0000"),
            of("s000004-0002-0000", "s000004-0002"),  # the first group's problem, drawn again
        ],
        torch.device("cpu"),
    )
    assert tensors.groups.tolist() == [0, 1, 0, 2]
