"""`own_prefix`: heads of a program that the policy wrote itself, in turn with nothing."""

from __future__ import annotations

from collections.abc import Sequence

from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.method.start_rules.progress import Progress, StartRule, visible_lines

QUARTERS = (3, 2, 1)
"""Of the program's lines that are given, in turn."""


class OwnPrefix(StartRule):
    """PrefixRL (arXiv 2601.18795), mixed with complete programs as in POPE (arXiv 2601.18779).

    Nothing is given until a sample of the problem passes. The first program that does is kept for
    good, and no reference is needed. From then on every second group of the problem begins from
    nothing, and the others after 3/4, 1/2 and 1/4 of the kept program's visible lines, in turn.
    Stage s gives its first s visible lines.

    From the papers: the policy completes heads of correct programs of an earlier policy, on-policy,
    given tokens carry no loss, and prompts with and without a head are mixed one to one. PrefixRL
    collects many correct answers before the training, chooses lengths by how often the base model
    completes them, and keeps all of them; POPE takes its heads from an oracle. A run here has only
    what it sampled: hard problems without any pass stay without help.

    A kept program of 8 lines: stages 0, 6, 0, 4, 0, 2, 0, 6, …
    """

    gives_own = True

    def starts(self, source: str) -> tuple[int, ...]:
        return visible_lines(source)

    def first(self, easiest: int, config: CurriculumConfig) -> int:
        del easiest, config
        return 0

    def highest(self, easiest: int, config: CurriculumConfig) -> int:
        return self.first(easiest, config)

    def remember(self, at: Progress, programs: Sequence[str]) -> Progress:
        if at.program or not programs:
            return at
        return Progress(at.stage, notes={"program": programs[0], "turn": 0})

    def after(
        self, at: Progress, passed: Sequence[bool], easiest: int, config: CurriculumConfig
    ) -> Progress:
        del config
        if not passed or not at.notes:
            return at
        turn = at.notes["turn"] + 1
        guided, number = turn % 2 == 1, turn // 2
        lines = easiest + 1
        stage = lines * QUARTERS[number % len(QUARTERS)] // 4 if guided else 0
        return Progress(stage, notes={**at.notes, "turn": turn})


RULE = OwnPrefix()
