"""`cccs`: from the easiest stage towards 0, as problems are mastered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.method.start_rules.progress import Progress, StartRule


class Cccs(StartRule):
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


RULE = Cccs()
