"""The rules for where the policy starts to write: one for each value of `curriculum.kind`.

A problem has stages 0 … E, E its easiest: at stage 0 nothing is given, at stage E the longest
prefix of the reference (curriculum.py says where each begins). A rule decides at which stage a
problem begins and at which it is after a group of samples. It keeps no state of its own and does
not see other problems. A new rule is a class here and a line in `RULES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from stepcoder_dist.config import CurriculumConfig


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of one problem: all that a checkpoint keeps of it."""

    stage: int
    average: float = 0.0
    """ρ: moving average of full passes at this stage. Rules without an average leave it at 0."""


class StartRule(Protocol):
    """Pure functions of a problem's progress and its number of stages."""

    def first(self, easiest: int, config: CurriculumConfig) -> int:
        """Return the stage at which a problem with stages 0 … `easiest` begins."""
        ...

    def highest(self, easiest: int, config: CurriculumConfig) -> int:
        """Return the highest stage that it can ever be at, whose prompt has to fit too."""
        ...

    def after(
        self, at: Progress, passed: Sequence[bool], easiest: int, config: CurriculumConfig
    ) -> Progress:
        """Return the progress after a group that was sampled at stage `at.stage`."""
        ...


class Cccs:
    """CCCS (StepCoder §3, arXiv 2402.01391, Algorithm 1): from the easiest stage towards 0.

    ρ ← (1−α)ρ + α·[passed]; above the threshold ρ ← 0 and the stage goes down by one, never below 0
    (Algorithm 1 prints `min(c−1, 0)`, which can only be meant as `max`).

    α = 0.5, threshold 0.5, stage 2: a group with pass share 0.8 gives ρ = 0.4; another one
    ρ = 0.2 + 0.4 = 0.6 > 0.5, so the stage is 1 and ρ = 0.
    """

    def first(self, easiest: int, config: CurriculumConfig) -> int:
        del config
        return easiest

    def highest(self, easiest: int, config: CurriculumConfig) -> int:
        return self.first(easiest, config)

    def after(
        self, at: Progress, passed: Sequence[bool], easiest: int, config: CurriculumConfig
    ) -> Progress:
        del easiest
        if config.group_update == "mean":
            updates = [sum(passed) / len(passed)] if passed else []
        else:
            updates = [float(p) for p in passed]
        average = at.average
        for update in updates:
            average = (1 - config.alpha) * average + config.alpha * update
            if average > config.threshold:
                average = 0.0
                if at.stage > 0:
                    # the rest of the group says nothing about the next stage
                    return Progress(at.stage - 1, average)
        return replace(at, average=average)


class Fixed:
    """Every problem stays at `curriculum.fixed_stage`, or at its easiest where it has fewer.

    It comes from no paper: it is the control to compare a moving curriculum with.

    `fixed_stage = 1`: a problem with stages 0 … 2 stays at 1, one with stage 0 only at 0.
    """

    def first(self, easiest: int, config: CurriculumConfig) -> int:
        return easiest if config.fixed_stage is None else min(config.fixed_stage, easiest)

    def highest(self, easiest: int, config: CurriculumConfig) -> int:
        return self.first(easiest, config)

    def after(
        self, at: Progress, passed: Sequence[bool], easiest: int, config: CurriculumConfig
    ) -> Progress:
        del passed, easiest, config
        return at


class Nothing(Fixed):
    """Nothing is ever given: plain RL. References are not even parsed."""

    def first(self, easiest: int, config: CurriculumConfig) -> int:
        del easiest, config
        return 0


class OnFailure:
    """Nothing is given, unless all samples failed when the problem was last drawn.

    Then one stage more is given the next time, up to the easiest; after any pass nothing is given.
    Code is given only where there is no reward to learn from. This is the idea of
    BREAD (arXiv 2506.17211: a prefix of the expert's solution where a model's own attempts all
    fail) and AdaBack (arXiv 2506.18110: a prefix length for each sample by its past rewards), with
    the curriculum's start points as the prefixes.

    Stages 0 … 2, groups of two: (fail, fail) 0 → 1, (fail, fail) 1 → 2, (fail, fail) stays at 2,
    (fail, pass) → 0.
    """

    def first(self, easiest: int, config: CurriculumConfig) -> int:
        del easiest, config
        return 0

    def highest(self, easiest: int, config: CurriculumConfig) -> int:
        del config
        return easiest

    def after(
        self, at: Progress, passed: Sequence[bool], easiest: int, config: CurriculumConfig
    ) -> Progress:
        del config
        if not passed:
            return at
        return Progress(0 if any(passed) else min(at.stage + 1, easiest))


RULES: dict[str, StartRule] = {
    "cccs": Cccs(),
    "none": Nothing(),
    "fixed": Fixed(),
    "on_failure": OnFailure(),
}
"""The rules by `curriculum.kind`."""
