"""`none`: nothing is ever given."""

from __future__ import annotations

from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.method.start_rules.fixed import Fixed


class Nothing(Fixed):
    """Nothing is ever given: plain RL. References are not even parsed."""

    def starts(self, source: str) -> tuple[int, ...]:
        del source
        return (0,)

    def first(self, easiest: int, config: CurriculumConfig) -> int:
        del easiest, config
        return 0


RULE = Nothing()
