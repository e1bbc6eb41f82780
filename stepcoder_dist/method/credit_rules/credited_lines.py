"""What a credit rule makes of a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from stepcoder_dist.records import LineStructure, TestResult

Comments = Literal["block", "keep", "mask"]


@dataclass(frozen=True, slots=True)
class CreditedLines:
    """The 1-based lines of one program that carry loss, by the sign of the advantage."""

    rewarded: frozenset[int]
    """Kept where the advantage is not negative."""
    blamed: frozenset[int]
    """Kept where the advantage is negative."""
    reward_weights: Mapping[int, float] = field(default_factory=dict)
    """What the loss of a rewarded line's tokens is multiplied by, where that is not 1."""
    blame_weights: Mapping[int, float] = field(default_factory=dict)
    """The same of a blamed line's."""

    @property
    def either(self) -> frozenset[int]:
        return self.rewarded | self.blamed


LineRule = Callable[[LineStructure, Sequence[TestResult], Comments], CreditedLines]


def fired(tests: Sequence[TestResult]) -> frozenset[int]:
    """Return the raw lines that some of the tests executed."""
    return frozenset().union(*(test.executed_lines for test in tests))
