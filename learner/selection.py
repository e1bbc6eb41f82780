"""Which samples carry policy loss at all: one function for each value of `learner.selection`.

A sample that is left out still counts for the statistics of advantages, for the critic and for the
KL. No other sample takes its place here (`learner.flat_groups` does that before the step), so that
a step's loss is a mean over fewer tokens. To add a
rule: a function here, its line in `SELECTIONS` and in `methods.SELECTIONS`, and a worked example in
tests/unit/learner/test_selection.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from learner.advantage.groups import flat_samples
from learner.step_tensors import StepTensors

Rule = Callable[[StepTensors], Tensor]
"""From a step to bool [S]: the samples that carry policy loss."""


def every(tensors: StepTensors) -> Tensor:
    """Return every sample."""
    return torch.ones_like(tensors.truncated)


def drop_flat(tensors: StepTensors) -> Tensor:
    """Return the samples of groups whose scores differ (DAPO, arXiv 2503.14476, 3.2).

    The paper samples others until the step is full: `learner.flat_groups = "replace"`.

    Scores 1, −0.3 of one group and 1, 1 of another: the first two.
    """
    return ~flat_samples(tensors.scores, tensors.groups)


def drop_overlong(tensors: StepTensors) -> Tensor:
    """Return samples that ended by themselves (DAPO's overlong filtering, arXiv 2503.14476, 3.4).

    A sample that was cut off at the limit says little about the tokens that it has.
    """
    return ~tensors.truncated


def dapo(tensors: StepTensors) -> Tensor:
    """Both of arXiv 2503.14476; what is cut off still counts in its group's scores."""
    return drop_flat(tensors) & drop_overlong(tensors)


SELECTIONS: dict[str, Rule] = {
    "all": every,
    "drop_flat": drop_flat,
    "drop_overlong": drop_overlong,
    "dapo": dapo,
}
"""By the values of `learner.selection`."""


def selected(tensors: StepTensors, name: str) -> StepTensors:
    """Return the step with the masks of the samples that the rule leaves out all False."""
    chosen = SELECTIONS[name](tensors)[:, None]
    return replace(tensors, keep=tensors.keep & chosen, blame=tensors.blame & chosen)
