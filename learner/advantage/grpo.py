"""GRPO's advantages: a sample's score against its group's mean and deviation. No critic."""

from __future__ import annotations

from torch import Tensor

from learner.advantage.groups import GroupMean, check_groups, over_tokens
from learner.advantage.rewards import returns_by_sample
from learner.step_tensors import Recomputed, StepTensors, Targets
from stepcoder_dist.config import LearnerConfig

STD_EPSILON = 1e-6


def targets(tensors: StepTensors, known: Recomputed, learner: LearnerConfig) -> Targets:
    """Return the group-normalised score on every token (DeepSeekMath, arXiv 2402.03300, 4.1.2).

    No whitening on top. The KL to the reference is not in the reward but a loss of its own,
    weighted by `kl_beta` (their Eq. 4; learner/loss/kl.py), unless `learner.kl_in` has it else.
    """
    per_sample = group_normalised(returns_by_sample(tensors, known, learner), tensors.groups)
    return Targets.of(tensors, over_tokens(per_sample, tensors.mask))


def group_normalised(scores: Tensor, groups: Tensor) -> Tensor:
    """A = (r − mean(r)) / (std(r) + ε) over each sample's group: float32 [S].

    The paper leaves open which standard deviation: here the population's. Equal scores have
    advantage 0. `groups` int64 [S] is the number of each sample's group.

    Scores 1, −0.3, −0.3, 1 of one group: mean 0.35, std 0.65, advantages 1, −1, −1, 1.
    """
    check_groups(scores, groups)
    mean = GroupMean(groups)
    values = scores.double()
    centred = values - mean(values)
    return (centred / (mean(centred.square()).sqrt() + STD_EPSILON)).float()
