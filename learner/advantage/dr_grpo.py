"""Dr. GRPO's advantages: a sample's score against its group's mean, not divided. No critic."""

from __future__ import annotations

from torch import Tensor

from learner.advantage.groups import GroupMean, check_groups, over_tokens
from learner.advantage.rewards import returns_by_sample
from learner.step_tensors import Recomputed, StepTensors, Targets
from stepcoder_dist.config import LearnerConfig


def targets(tensors: StepTensors, known: Recomputed, learner: LearnerConfig) -> Targets:
    """Return the score less its group's mean, on every token (Dr. GRPO, arXiv 2503.20783, 3.2).

    Without the deviation a problem that is nearly always or nearly never solved does not weigh
    more. The other half of the paper is `learner.normaliser = "constant"`.
    """
    per_sample = group_centred(returns_by_sample(tensors, known, learner), tensors.groups)
    return Targets.of(tensors, over_tokens(per_sample, tensors.mask))


def group_centred(scores: Tensor, groups: Tensor) -> Tensor:
    """A = r − mean(r) over each sample's group: float32 [S].

    Scores 1, −0.3, −0.3, 1 of one group: mean 0.35, advantages 0.65, −0.65, −0.65, 0.65.
    """
    check_groups(scores, groups)
    values = scores.double()
    return (values - GroupMean(groups)(values)).float()
