"""RLOO's advantages: an answer's return against the mean of its group's others. No critic."""

from __future__ import annotations

from torch import Tensor

from learner.advantage.groups import GroupMean, check_groups, over_tokens
from learner.advantage.rewards import returns_by_sample
from learner.step_tensors import Recomputed, StepTensors, Targets
from stepcoder_dist.config import LearnerConfig


def targets(tensors: StepTensors, known: Recomputed, learner: LearnerConfig) -> Targets:
    """Return each answer's return less the mean of its group's others (arXiv 2402.14740).

    No whitening; the KL is inside the return. The paper's is a REINFORCE step with the entire
    answer as the action. Here each token has its own clipped ratio, as under the other rules; it
    is 1 in the first update of a step.
    """
    per_sample = leave_one_out(returns_by_sample(tensors, known, learner), tensors.groups)
    return Targets.of(tensors, over_tokens(per_sample, tensors.mask))


def leave_one_out(returns: Tensor, groups: Tensor) -> Tensor:
    """A_i = R_i − Σ_{j≠i} R_j / (k − 1) = k/(k − 1) · (R_i − mean(R)), k in a group: float32 [S].

    Unbiased, because the baseline does not depend on sample i. `groups` int64 [S] is the number
    of each sample's group.

    Returns 1, −0.3, −0.3, 1 of one group: 1 − 0.4/3 = 0.8667, −0.3 − 1.7/3 = −0.8667, …
    """
    check_groups(returns, groups)
    mean = GroupMean(groups)
    values = returns.double()
    centred = values - mean(values)
    return (centred * mean.sizes / (mean.sizes - 1).clamp(min=1)).float()
