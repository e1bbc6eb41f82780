"""One optimiser step on six tokens, worked out by hand from the reward to the updated parameters.

Two samples, A with four completion tokens (ids 1 2 3 4) and B with two (ids 5 6); score +1 and
−0.3. β = 0.1, γ = 1, λ = 0.5, ratio clip 0.2, value clip 0.2, correction cap 2. Token A2 is on a
line that no test executed. The networks are tables with one entry for each token id and the
optimiser is plain gradient descent, so each updated entry shows that token's gradient.

                    A0      A1      A2      A3      B0      B1
    log π_old      −1.0    −2.0    −0.5    −1.5    −1.0    −0.5
    log π_ref      −1.5    −1.0    −0.5    −2.5    −2.0    −1.0
    log π_rollout  −1.0    −2.2    −0.4    −1.5    −3.0    −0.5
    log π_θ        −0.9    −1.7     0.5    −1.8    −1.3    −0.2
    V_old           0.2     0.4     0.6     0.5     0.1    −0.1
    V               0.3     0.8     0.6     0.1     0.1    −0.2
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from learner.nonfinite import SkippedUpdates
from learner.ppo_step import PpoStep
from stepcoder_dist.config import LearnerConfig
from stepcoder_dist.records import Outcome, Ticket, Trajectory

OLD = [-1.0, -2.0, -0.5, -1.5, -1.0, -0.5]
REFERENCE = [-1.5, -1.0, -0.5, -2.5, -2.0, -1.0]
ROLLOUT = [-1.0, -2.2, -0.4, -1.5, -3.0, -0.5]
NOW = [-0.9, -1.7, 0.5, -1.8, -1.3, -0.2]
OLD_VALUES = [0.2, 0.4, 0.6, 0.5, 0.1, -0.1]
VALUES = [0.3, 0.8, 0.6, 0.1, 0.1, -0.2]


class Table:
    """A network that answers `before` until gradients are wanted, then its parameters."""

    def __init__(self, before: list[float], now: list[float]) -> None:
        self.before = torch.tensor([0.0, *before, 0.0])
        self.parameters = torch.tensor([0.0, *now, 0.0], requires_grad=True)
        self.updates = 0
        self.asked: list[int] = []
        """The tokens of all passes without gradient."""
        self.trained: list[int] = []
        """The tokens of all passes with gradient."""

    def __call__(
        self,
        *,
        input_ids: Tensor,
        rows: Tensor,
        predictors: Tensor,
        token_ids: Tensor | None = None,
        temperatures: Tensor | None = None,
        position_ids: Tensor | None = None,
        segments: tuple[tuple[int, ...], ...] = (),
    ) -> Tensor | tuple[Tensor, Tensor]:
        del temperatures, position_ids, segments
        # no two samples share a prompt: the predictor of a token is one column before it
        following = input_ids[rows, predictors + 1]
        trains = torch.is_grad_enabled()
        (self.trained if trains else self.asked).extend(following.tolist())
        table = self.parameters if trains else self.before
        if token_ids is None:
            return table[following]
        assert following.tolist() == token_ids.tolist()
        return table[token_ids], torch.full((len(token_ids),), 0.7)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        del last
        loss.backward()

    def norm(self) -> float:
        return float(self.parameters.grad.norm())

    def drop(self) -> None:
        self.parameters.grad = None

    def step(self, learning_rate: float) -> float:
        self.updates += 1
        gradient = self.parameters.grad
        self.parameters.data -= learning_rate * gradient
        self.parameters.grad = None
        return float(gradient.norm())


@pytest.fixture
def process_group() -> Iterator[None]:
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def trajectory(ids: list[int], rollout: list[float], keep: list[bool], reward: float) -> Trajectory:
    return Trajectory(
        ticket=Ticket(
            sample_id=f"s{ids[0]}", group="g", problem_id="p", stage=0, seed=0, planned_step=1
        ),
        level="introductory",
        prompt_ids=np.array([7, 7, 7][: ids[0]], dtype=np.int32),
        completion_ids=np.array(ids, dtype=np.int32),
        rollout_logprobs=np.array(rollout, dtype=np.float32),
        keep=np.array(keep),
        reward=reward,
        outcome=Outcome.PASSED,
        temperature=1.0,
        oldest_weights=0,
        newest_weights=0,
    )


def batch(*, keep_any: bool = True) -> list[Trajectory]:
    kept, masked = keep_any, False
    return [
        trajectory([1, 2, 3, 4], ROLLOUT[:4], [kept, kept, masked, kept], 1.0),
        trajectory([5, 6], ROLLOUT[4:], [kept, kept], -0.3),
    ]


def ppo(policy: Table, critic: Table | None, **learner: object) -> PpoStep:
    config = {
        "samples_per_step": 2,
        "minibatch_samples": 2,
        "microbatch_samples": 1,
        "policy_lr": 1.0,
        "critic_lr": 1.0,
        "kl_beta": 0.1,
        "gae_lambda": 0.5,
    }
    return PpoStep(
        LearnerConfig(**(config | learner)),
        policy=policy,
        critic=critic,
        reference=Table(REFERENCE, REFERENCE) if (config | learner)["kl_beta"] else None,
        rank=0,
        seed=0,
        device=torch.device("cpu"),
    )


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("microbatch_samples", [1, 2])
def test_one_step_on_six_tokens_is_what_the_arithmetic_by_hand_gives(
    microbatch_samples: int,
) -> None:
    policy, critic = Table(OLD, NOW), Table(OLD_VALUES, VALUES)

    metrics = ppo(policy, critic, microbatch_samples=microbatch_samples).run(batch(), 0)

    # KL estimate, log π_old − log π_ref:   0.5  −1.0   0.0   1.0 |  1.0   0.5    mean 2/6
    assert metrics["kl_reference"] == pytest.approx(2 / 6, abs=1e-6)
    # reward −0.1·KL, + score at the end:  −0.05  0.1   0.0   0.9 | −0.1  −0.35
    # δ_t = r_t + V_{t+1} − V_t:
    #   A: −0.05+0.4−0.2 = 0.15;  0.1+0.6−0.4 = 0.3;  0+0.5−0.6 = −0.1;  0.9+0−0.5 = 0.4
    #   B: −0.1−0.1−0.1 = −0.3;  −0.35+0+0.1 = −0.25
    # A_t = δ_t + 0.5 A_{t+1}:
    #   A: 0.15+0.175 = 0.325;  0.3+0.05 = 0.35;  −0.1+0.2 = 0.1;  0.4
    #   B: −0.3−0.125 = −0.425;  −0.25
    # returns = A_t + V_old:   0.525  0.75  0.7  0.9 | −0.325  −0.35
    # mean of A = 0.5/6 = 0.0833333; mean of A² = 0.64125/6 = 0.106875
    # variance = 0.106875 − 0.0069444 = 0.0999306; deviation 0.3161179
    assert metrics["advantage_std"] == pytest.approx(0.3161179, abs=1e-6)
    # whitened over all six (token A2 too):
    #   0.7644826  0.8435670  0.0527229  1.0017358 | −1.6080495  −1.0544587
    # Var(returns) = 2.36625/6 − (2.2/6)² = 0.2599306;  1 − 0.0999306/0.2599306
    assert metrics["explained_variance"] == pytest.approx(0.6155490, abs=1e-6)
    # correction min(e^(old − rollout), 2):  1  e^0.2 = 1.2214028  e^−0.1 = 0.9048374  1 | 2  1
    assert metrics["correction_mean"] == pytest.approx(7.1262402 / 6, abs=1e-6)
    # |old − rollout|:   0  0.2  0.1  0 | 2  0
    assert metrics["logprob_mismatch"] == pytest.approx(2.3 / 6, abs=1e-6)

    # ratio e^(θ − old) and what the clip makes of it:
    #   A0 e^0.1 = 1.1051709, inside               -> 1 · 1.1051709 · 0.7644826    =  0.8448839
    #   A1 e^0.3 = 1.3498588, A > 0: clipped 1.2   -> 1.2214028 · 1.2 · 0.8435670  =  1.2364020
    #   A2 masked                                  -> 0
    #   A3 e^−0.3 = 0.7408182, A > 0: not clipped  -> 1 · 0.7408182 · 1.0017358    =  0.7421041
    #   B0 e^−0.3 = 0.7408182, A < 0: clipped 0.8  -> 2 · 0.8 · −1.6080495         = −2.5728792
    #   B1 e^0.3 = 1.3498588, A < 0: not clipped   -> 1 · 1.3498588 · −1.0544587   = −1.4233704
    # sum −1.1728596; −sum / 5 kept tokens = 0.2345719
    assert metrics["policy_loss"] == pytest.approx(0.2345719, abs=1e-6)
    assert metrics["clip_fraction"] == pytest.approx(2 / 5, abs=1e-6)
    # e^x − 1 − x for x = 0.1, 0.3, 1.0, −0.3, −0.3, 0.3:
    #   0.0051709 + 0.0498588 + 0.7182818 + 0.0408182 + 0.0408182 + 0.0498588 = 0.9048068
    assert metrics["approx_kl"] == pytest.approx(0.9048068 / 6, abs=1e-6)
    # gradient of −term/5 where not clipped is −term/5; new entry = old − gradient:
    #   A0 −0.9 + 0.1689768;  A1 stays;  A2 stays;  A3 −1.8 + 0.1484208;  B0 stays;
    #   B1 −0.2 − 0.2846741
    assert policy.parameters[1:7].tolist() == pytest.approx(
        [-0.7310232, -1.7, 0.5, -1.6515792, -1.3, -0.4846741], abs=1e-6
    )
    assert metrics["grad_norm_policy"] == pytest.approx(0.3627964, abs=1e-6)

    # value terms max((V − R)², (V_clipped − R)²):
    #   A0 (0.3 − 0.525)² = 0.050625                        (0.3 is within 0.2 of 0.2)
    #   A1 (0.8 − 0.75)² = 0.0025 < (0.6 − 0.75)² = 0.0225  (clipped to 0.6: no gradient)
    #   A2 (0.6 − 0.7)² = 0.01
    #   A3 (0.1 − 0.9)² = 0.64 > (0.3 − 0.9)² = 0.36
    #   B0 (0.1 + 0.325)² = 0.180625;  B1 (−0.2 + 0.35)² = 0.0225
    # sum 0.92625; half of it over 6 response tokens: masked token A2 counts here
    assert metrics["value_loss"] == pytest.approx(0.0771875, abs=1e-6)
    # gradient (V − R)/6:  −0.0375  0  −0.1/6  −0.8/6 | 0.425/6  0.15/6
    assert critic.parameters[1:7].tolist() == pytest.approx(
        [0.3375, 0.8, 0.6166667, 0.2333333, 0.0291667, -0.225], abs=1e-6
    )
    assert metrics["grad_norm_critic"] == pytest.approx(0.1584429, abs=1e-6)
    assert metrics["entropy"] == pytest.approx(0.7)
    assert metrics["kept_share"] == pytest.approx(5 / 6)
    assert metrics["response_tokens"] == 6


@pytest.mark.usefixtures("process_group")
def test_a_step_without_a_kept_token_changes_neither_network() -> None:
    policy, critic = Table(OLD, NOW), Table(OLD_VALUES, VALUES)

    metrics = ppo(policy, critic).run(batch(keep_any=False), 0)

    assert metrics == {"response_tokens": 6.0, "kept_share": 0.0}
    assert (policy.updates, critic.updates) == (0, 0)


@pytest.mark.usefixtures("process_group")
def test_a_minibatch_without_a_kept_token_trains_the_critic_only() -> None:
    policy, critic = Table(OLD, NOW), Table(OLD_VALUES, VALUES)
    one_kept = [
        batch()[0],
        trajectory([5, 6], ROLLOUT[4:], [False, False], -0.3),
    ]

    ppo(policy, critic, minibatch_samples=1).run(one_kept, 0)

    assert (policy.updates, critic.updates) == (1, 2)


@pytest.mark.usefixtures("process_group")
def test_the_critic_trains_alone_in_the_first_critic_warmup_steps() -> None:
    policy, critic = Table(OLD, NOW), Table(OLD_VALUES, VALUES)
    step = ppo(policy, critic, critic_warmup_steps=2)

    for version in range(3):
        step.run(batch(), version)

    assert (policy.updates, critic.updates) == (1, 3)


@pytest.mark.usefixtures("process_group")
def test_every_epoch_passes_over_every_minibatch() -> None:
    policy, critic = Table(OLD, NOW), Table(OLD_VALUES, VALUES)

    ppo(policy, critic, epochs=3, minibatch_samples=1, policy_lr=1e-9).run(batch(), 0)

    assert (policy.updates, critic.updates) == (6, 6)


@pytest.mark.usefixtures("process_group")
def test_the_learning_rate_rises_linearly_over_the_warmup_steps() -> None:
    # after k of 4 warm-up steps the entry A0 has moved by k/4 of what it moves at the full rate
    def moved(version: int) -> float:
        policy = Table(OLD, NOW)
        ppo(policy, Table(OLD_VALUES, VALUES), warmup_steps=4).run(batch(), version)
        return policy.parameters[1].item() + 0.9

    assert moved(0) == pytest.approx(0.1689768 / 4, abs=1e-6)
    assert moved(2) == pytest.approx(0.1689768 * 3 / 4, abs=1e-6)
    assert moved(9) == pytest.approx(0.1689768, abs=1e-6)


NAN = float("nan")


@pytest.mark.usefixtures("process_group")
def test_a_loss_that_is_not_finite_moves_neither_network() -> None:
    policy, critic = Table(OLD, [NAN, *NOW[1:]]), Table(OLD_VALUES, VALUES)
    skipped = SkippedUpdates()

    metrics = ppo(policy, critic).run(batch(), 0, skipped)

    assert (policy.updates, critic.updates) == (0, 0)
    assert (policy.parameters.grad, critic.parameters.grad) == (None, None)
    assert skipped.why == ["policy_loss is nan on rank 0"]
    assert skipped.untrained == (0, 1)
    # what was measured before the update is reported, and nothing of the update
    assert metrics["advantage_std"] == pytest.approx(0.3161179, abs=1e-6)
    assert metrics.keys().isdisjoint({"policy_loss", "value_loss", "grad_norm_policy"})


@pytest.mark.usefixtures("process_group")
def test_a_gradient_of_one_network_that_is_not_finite_leaves_the_other_alone_too() -> None:
    policy, critic = Table(OLD, NOW), Table(OLD_VALUES, VALUES)
    critic.parameters.register_hook(lambda gradient: gradient * NAN)
    skipped = SkippedUpdates()

    ppo(policy, critic).run(batch(), 0, skipped)

    assert (policy.updates, critic.updates) == (0, 0)
    assert skipped.why == ["the gradients' norm of the critic is nan"]


@pytest.mark.usefixtures("process_group")
def test_of_two_minibatches_the_one_that_is_finite_is_trained() -> None:
    policy, critic = Table(OLD, [*NOW[:4], NAN, NOW[5]]), Table(OLD_VALUES, VALUES)
    skipped = SkippedUpdates()

    metrics = ppo(policy, critic, minibatch_samples=1).run(batch(), 0, skipped)

    assert (policy.updates, critic.updates) == (1, 1)
    assert skipped.untrained == (1,)
    assert metrics["policy_loss"] == metrics["policy_loss"]  # a number
