"""The progress of one problem, and what a start rule does with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.method.conditionals import Stages

_USUAL = 2
"""Items of a saved row without notes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of one problem: all that a checkpoint keeps of it."""

    stage: int
    average: float = 0.0
    """ρ: moving average of full passes at this stage. Rules without an average leave it at 0."""
    notes: Mapping[str, Any] | None = None
    """What else the rule knows of the problem, as plain JSON data; it is never changed in place."""

    @property
    def program(self) -> str:
        """The policy's own program whose heads are given; empty: heads of the reference are."""
        return str(self.notes.get("program", "")) if self.notes else ""

    def saved(self) -> list[Any]:
        """Return plain JSON data."""
        return [self.stage, self.average, *([] if self.notes is None else [dict(self.notes)])]

    @classmethod
    def of(cls, saved: Sequence[Any]) -> Self:
        """Read what `saved` returned."""
        notes = dict(saved[_USUAL]) if len(saved) > _USUAL else None
        return cls(int(saved[0]), float(saved[1]), notes)


class StartRule(Protocol):
    """Pure functions of a problem's progress and its number of stages."""

    gives_own: bool = False
    """True: what is given are heads of programs that the policy wrote."""

    def starts(self, source: str) -> tuple[int, ...]:
        """Return the 1-based line of the program at which each stage begins; 0, the first: nothing.

        By default they are CCCS's. Raises `SyntaxError` or `ValueError` where it does not parse.
        """
        return Stages.of(source).starts

    def first(self, easiest: int, config: CurriculumConfig) -> int:
        """Return the stage at which a problem with stages 0 … `easiest` begins."""
        ...

    def highest(self, easiest: int, config: CurriculumConfig) -> int:
        """Return the highest stage that it can ever be at, whose prompt has to fit too."""
        ...

    def remember(self, at: Progress, programs: Sequence[str]) -> Progress:
        """Note what a rule wants of the programs of a group that passed, before `after`."""
        del programs
        return at

    def after(
        self, at: Progress, passed: Sequence[bool], easiest: int, config: CurriculumConfig
    ) -> Progress:
        """Return the progress after a group that was sampled at stage `at.stage`."""
        ...


def visible_lines(source: str) -> tuple[int, ...]:
    """Return 0, then the 1-based lines from the second on that hold more than white space."""
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    shown = [number for number, line in enumerate(lines, start=1) if line.strip()]
    return (0, *shown[1:])
