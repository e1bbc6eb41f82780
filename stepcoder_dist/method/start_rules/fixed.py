"""`fixed`: every problem stays where it begins."""

from __future__ import annotations

from collections.abc import Sequence

from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.method.start_rules.progress import Progress, StartRule


class Fixed(StartRule):
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


RULE = Fixed()
