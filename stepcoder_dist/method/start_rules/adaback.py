"""`adaback`: the share of the reference that is given, by bisection on the reward."""

from __future__ import annotations

from collections.abc import Sequence

from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.method.start_rules.progress import Progress, StartRule, visible_lines


class AdaBack(StartRule):
    """AdaBack (arXiv 2506.18110): for each problem, as little of the reference as is needed.

    Stage s gives the reference's first s visible lines; E = all of them but the last. A problem has
    an interval [low, high] in which the length that is needed lies, at first [0, E], and is drawn
    at its middle s = ⌊(low + high)/2⌋. A group whose pass share is above `threshold` sets
    high ← s, any other low ← s + 1. The policy changes while the interval shrinks: where it has
    closed, the next group opens it again, to [0, s] after a success and to [s, E] after a failure.

    From the paper: an interval for each problem, halved by the rewards of its own samples, and the
    rewards' threshold. It draws the length at random in the interval, in tokens, for each sample;
    here a group shares its middle, in lines, so that a run repeats. That an interval opens again is
    ours.

    E = 8: stage 4 of [0, 8]; fails: 6 of [5, 8]; passes: 5 of [5, 6]; passes: [5, 5], and 5 again;
    passes: 2 of [0, 5].
    """

    def starts(self, source: str) -> tuple[int, ...]:
        return visible_lines(source)

    def first(self, easiest: int, config: CurriculumConfig) -> int:
        del config
        return easiest // 2

    def highest(self, easiest: int, config: CurriculumConfig) -> int:
        del config
        return easiest

    def after(
        self, at: Progress, passed: Sequence[bool], easiest: int, config: CurriculumConfig
    ) -> Progress:
        if not passed:
            return at
        low, high = (at.notes["low"], at.notes["high"]) if at.notes else (0, easiest)
        solved = sum(passed) / len(passed) > config.threshold
        if low >= high:
            low, high = (0, at.stage) if solved else (at.stage, easiest)
        elif solved:
            high = at.stage
        else:
            low = at.stage + 1
        return Progress((low + high) // 2, notes={"low": low, "high": high})


RULE = AdaBack()
