"""Which tokens carry policy loss: one rule for each value of `credit.rule`.

A rule turns the tests' executed lines into two sets of lines: those that a positive advantage may
reward and those that a negative one may blame. The sign is the learner's, so a trajectory carries
both masks. A new rule is a function here and a line in `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stepcoder_dist.config import CreditConfig
from stepcoder_dist.method.coverage_mask import kept_lines, token_mask
from stepcoder_dist.records import (
    BoolArray,
    Completion,
    LineStructure,
    Outcome,
    TestResult,
    Verdict,
)
from stepcoder_dist.text.program import Program

Comments = Literal["block", "keep", "mask"]


@dataclass(frozen=True, slots=True)
class CreditedLines:
    """1-based lines of one program."""

    rewarded: frozenset[int]
    """Kept where the advantage is not negative."""
    blamed: frozenset[int]
    """Kept where it is."""

    @property
    def either(self) -> frozenset[int]:
        return self.rewarded | self.blamed


@dataclass(frozen=True, slots=True)
class CreditedTokens:
    """bool [T] each, over the sampled tokens, and the lines that they were made from."""

    rewarded: BoolArray
    blamed: BoolArray
    lines: CreditedLines | None
    """None: every token carries loss."""


def executed(
    structure: LineStructure, tests: Sequence[TestResult], comments: Comments
) -> CreditedLines:
    """FGO (StepCoder §4, arXiv 2402.01391, Eq. 5): what at least one test executed, either way.

    Tests that executed lines {1, 2} and {1, 4} keep 1, 2 and 4.
    """
    lines = kept_lines(structure, _fired(tests), comments)
    return CreditedLines(lines, lines)


def failing_tests(
    structure: LineStructure, tests: Sequence[TestResult], comments: Comments
) -> CreditedLines:
    """Blame on the lines that only failing tests executed, credit on those that a pass executed.

    Spectrum-based fault localisation (Tarantula: Jones and Harrold 2005,
    doi.org/10.1145/1101908.1101949) cut down to its extreme: a line that only failing tests execute
    is its most suspicious kind (1), one that only passing tests execute its least (0).

    Where no line is executed by failing tests alone, nothing tells their lines apart: all of them
    are blamed, and none loses its credit. A program that passes has nothing to localise and is
    FGO's. Failing tests that executed nothing (a crash before the first line) blame what was
    executed at all, so that their reward is not thrown away.

    Passing tests executed {1, 2}, failing ones {1, 4}: rewarded 1 and 2, blamed 4. Had the failing
    ones executed {1}: rewarded 1 and 2, blamed 1.
    """
    failed = [test for test in tests if test.outcome is not Outcome.PASSED]
    passed = [test for test in tests if test.outcome is Outcome.PASSED]
    if not failed:
        return executed(structure, tests, comments)
    suspects = kept_lines(structure, _fired(failed), comments)
    cleared = kept_lines(structure, _fired(passed), comments)
    blamed = suspects - cleared
    if not blamed:
        whole = kept_lines(structure, _fired(tests), comments)
        return CreditedLines(cleared, suspects or whole)
    if comments == "keep":
        blamed |= structure.comment_lines
    return CreditedLines(cleared, blamed)


LineRule = Callable[[LineStructure, Sequence[TestResult], Comments], CreditedLines]

RULES: dict[str, LineRule] = {"executed": executed, "failing_tests": failing_tests}
"""By `credit.rule`; `all` looks at no line: every token, prose too, carries loss."""


def credited_lines(verdict: Verdict, config: CreditConfig) -> CreditedLines | None:
    """None: every token carries loss.

    So it is under the rule `all`, for a program that does not compile (nothing ran: an all-false
    mask would throw its −1 away), and for one whose coverage cannot be trusted.
    """
    if config.rule == "all" or verdict.structure is None or not verdict.coverage_trusted:
        return None
    return RULES[config.rule](verdict.structure, verdict.tests, config.comments)


def credited_tokens(
    completion: Completion, program: Program, verdict: Verdict, config: CreditConfig
) -> CreditedTokens:
    """The two masks over a completion's tokens; one array twice where the lines are the same."""
    lines = credited_lines(verdict, config)
    if lines is None:
        every = np.ones(len(completion.token_ids), dtype=np.bool_)
        return CreditedTokens(every, every, lines)
    keep_prose = config.prose == "keep"
    rewarded = token_mask(completion, program, lines.rewarded, keep_prose=keep_prose)
    if lines.blamed == lines.rewarded:
        return CreditedTokens(rewarded, rewarded, lines)
    blamed = token_mask(completion, program, lines.blamed, keep_prose=keep_prose)
    return CreditedTokens(rewarded, blamed, lines)


def _fired(tests: Sequence[TestResult]) -> frozenset[int]:
    return frozenset().union(*(test.executed_lines for test in tests))
