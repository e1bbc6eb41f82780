"""From what a step knows to what its losses aim at: one file for each value of `learner.advantage`.

    gae.py, grpo.py, rloo.py, dr_grpo.py, reinforce_pp.py, tempo.py
                                a rule each, with its source and a worked example
    rewards.py                  the KL to the reference inside a token's or an answer's reward
    groups.py                   means over the samples of a group
    whitening.py                mean 0 and variance 1 over the response tokens of a step

A rule is a pure function `targets` of the tensors of an entire step, the same on all ranks. It says
what a token's advantage is. Ratio clip, correction weight, credit mask and normalisers are the same
for all rules (learner/loss).

To add a rule `x`: a file x.py here with its `targets`, a line in `methods.ADVANTAGES` that says
what it needs, and a worked example in tests/unit/learner.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from learner.step_tensors import Recomputed, StepTensors, Targets
from stepcoder_dist import methods
from stepcoder_dist.config import LearnerConfig

Rule = Callable[[StepTensors, Recomputed, LearnerConfig], Targets]


def rule(name: str) -> Rule:
    """Return the function `targets` of the file that is named as the value of `learner.advantage`.

    Raises `KeyError` for a name that `methods.ADVANTAGES` does not have.
    """
    if name not in methods.ADVANTAGES:
        raise KeyError(name)
    targets: Rule = importlib.import_module(f"learner.advantage.{name}").targets
    return targets
