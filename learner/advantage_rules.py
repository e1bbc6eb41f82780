"""From what a step knows to what its losses aim at: one rule for each `learner.advantage`.

A rule is a pure function of the whole step's tensors, the same on all ranks. It says what a token's
advantage is; ratio clip, correction weight, credit mask and normalisers are the same for all of
them (ppo_step.py). A new rule is a function here, a line in `RULES` and a word in
`config/learner.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from learner import advantages, group_advantages
from learner.step_tensors import Recomputed, StepTensors, Targets
from stepcoder_dist.config import LearnerConfig


def gae(tensors: StepTensors, known: Recomputed, learner: LearnerConfig) -> Targets:
    """PPO's: GAE (arXiv 1506.02438) over per-token rewards with the KL inside, whitened.

    The score is on the last token (StepCoder Eq. 3; arXiv 2203.02155, Eq. 2); whitening is over the
    response tokens of the whole step, before any mask. Worked by hand in `test_ppo_step.py`.
    """
    if known.values is None:
        raise ValueError("gae needs a critic's values")
    rewards = advantages.token_rewards(
        tensors.scores,
        known.old_logprobs,
        known.reference_logprobs,
        tensors.mask,
        learner.kl_beta,
    )
    raw = advantages.generalised_advantages(
        rewards,
        known.values,
        tensors.mask,
        gamma=learner.gamma,
        gae_lambda=learner.gae_lambda,
    )
    return _targets(tensors, advantages.whiten(raw, tensors.mask), raw, returns=raw + known.values)


def grpo(tensors: StepTensors, known: Recomputed, learner: LearnerConfig) -> Targets:
    """GRPO's (arXiv 2402.03300, section 4.1.2): the group-normalised score on every token.

    No critic, no whitening on top. The KL to the reference is not in the reward but a loss of its
    own, weighted by `kl_beta` (their Eq. 4; `ppo_loss.reference_kl`).
    """
    del known, learner
    aims = group_advantages.group_normalised(tensors.scores, tensors.groups)
    spread = group_advantages.over_tokens(aims, tensors.mask)
    return _targets(tensors, spread, spread)


def rloo(tensors: StepTensors, known: Recomputed, learner: LearnerConfig) -> Targets:
    """RLOO's (arXiv 2402.14740): the answer's return less the mean of its group's others.

    No critic, no whitening; the KL is inside the return. Theirs is a REINFORCE step with the whole
    answer as the action; here each token's clipped ratio stands beside the advantage, as for the
    other rules, and is 1 in the first update of a step.
    """
    returns = group_advantages.sequence_returns(
        tensors.scores,
        known.old_logprobs,
        known.reference_logprobs,
        tensors.mask,
        learner.kl_beta,
    )
    aims = group_advantages.leave_one_out(returns, tensors.groups)
    spread = group_advantages.over_tokens(aims, tensors.mask)
    return _targets(tensors, spread, spread)


@dataclass(frozen=True, slots=True)
class Rule:
    """One value of `learner.advantage`; whether it has a critic is `LearnerConfig.has_critic`."""

    targets: Callable[[StepTensors, Recomputed, LearnerConfig], Targets]
    kl_in_loss: bool = False
    """The KL to the reference is a loss of its own."""


RULES: dict[str, Rule] = {
    "gae": Rule(gae),
    "grpo": Rule(grpo, kl_in_loss=True),
    "rloo": Rule(rloo),
}
"""By `learner.advantage`."""


def _targets(
    tensors: StepTensors, aims: Tensor, raw: Tensor, *, returns: Tensor | None = None
) -> Targets:
    return Targets(
        advantages=aims,
        keep=torch.where(aims < 0, tensors.blame, tensors.keep),
        returns=returns,
        advantage_std=float(raw[tensors.mask].std(correction=0)),
    )
