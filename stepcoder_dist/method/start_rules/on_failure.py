"""`on_failure`: given code only where there is no reward to learn from."""

from __future__ import annotations

from collections.abc import Sequence

from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.method.start_rules.progress import Progress, StartRule


class OnFailure(StartRule):
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


RULE = OnFailure()
