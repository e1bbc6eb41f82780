"""The rules for which tokens carry policy loss: one for each value of `credit.rule`.

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

Comments = Literal["block", "keep", "mask"]


@dataclass(frozen=True, slots=True)
class CreditedLines:
    """The 1-based lines of one program that carry loss, by the sign of the advantage."""

    rewarded: frozenset[int]
    """Kept where the advantage is not negative."""
    blamed: frozenset[int]
    """Kept where the advantage is negative."""

    @property
    def either(self) -> frozenset[int]:
        return self.rewarded | self.blamed


@dataclass(frozen=True, slots=True)
class CreditedTokens:
    """Two masks over the sampled tokens, bool [T] each, and the lines that they were made from."""

    rewarded: BoolArray
    blamed: BoolArray
    lines: CreditedLines | None
    """None means that every token carries loss."""


def executed(
    structure: LineStructure, tests: Sequence[TestResult], comments: Comments
) -> CreditedLines:
    """FGO (StepCoder §4, arXiv 2402.01391, Eq. 5): what some test executed, for either sign.

    Tests that executed lines {1, 2} and {1, 4} keep 1, 2 and 4.
    """
    lines = kept_lines(structure, _fired(tests), comments)
    return CreditedLines(lines, lines)


def failing_tests(
    structure: LineStructure, tests: Sequence[TestResult], comments: Comments
) -> CreditedLines:
    """Blame the lines that only failing tests executed; credit those that a passing test executed.

    Spectrum-based fault localisation (Tarantula: Jones and Harrold 2005,
    doi.org/10.1145/1101908.1101949) cut down to its extreme: a line that only failing tests execute
    is its most suspicious kind (1), one that only passing tests execute its least (0).

    Three cases have no such line:

    * Every line of the failing tests is also executed by a passing one. All of them are blamed, and
      none loses its credit.
    * Every test passes: there is nothing to localise, and the rule is FGO's.
    * The failing tests executed nothing (a crash before the first line). Every executed line is
      blamed, so that their reward is not lost.

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
        ran = kept_lines(structure, _fired(tests), comments)
        return CreditedLines(cleared, suspects or ran)
    if comments == "keep":
        blamed |= structure.comment_lines
    return CreditedLines(cleared, blamed)


LineRule = Callable[[LineStructure, Sequence[TestResult], Comments], CreditedLines]

RULES: dict[str, LineRule] = {"executed": executed, "failing_tests": failing_tests}
"""The rules by `credit.rule`. `all` has none: every token carries loss, prose included."""


def credited_lines(verdict: Verdict, config: CreditConfig) -> CreditedLines | None:
    """Apply the configured rule to a verdict; None means that every token carries loss.

    It is None under the rule `all`, for a program that does not compile (nothing ran: an all-false
    mask would lose its reward of −1), and for one whose coverage cannot be trusted.
    """
    if config.rule == "all" or verdict.structure is None or not verdict.coverage_trusted:
        return None
    return RULES[config.rule](verdict.structure, verdict.tests, config.comments)


def credited_tokens(
    completion: Completion, verdict: Verdict, config: CreditConfig
) -> CreditedTokens:
    """Return the two masks of a completion's tokens; one array where the lines are the same."""
    lines = credited_lines(verdict, config)
    if lines is None:
        every = np.ones(len(completion.token_ids), dtype=np.bool_)
        return CreditedTokens(every, every, lines)
    keep_prose = config.prose == "keep"
    rewarded = token_mask(completion.token_lines, lines.rewarded, keep_prose=keep_prose)
    if lines.blamed == lines.rewarded:
        return CreditedTokens(rewarded, rewarded, lines)
    blamed = token_mask(completion.token_lines, lines.blamed, keep_prose=keep_prose)
    return CreditedTokens(rewarded, blamed, lines)


def _fired(tests: Sequence[TestResult]) -> frozenset[int]:
    return frozenset().union(*(test.executed_lines for test in tests))
