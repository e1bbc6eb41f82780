"""`failing_tests`: what only failing tests executed."""

from __future__ import annotations

from collections.abc import Sequence

from stepcoder_dist.method.coverage_mask import kept_lines
from stepcoder_dist.method.credit_rules import executed
from stepcoder_dist.method.credit_rules.credited_lines import Comments, CreditedLines, fired
from stepcoder_dist.records import LineStructure, Outcome, TestResult


def lines(
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
        return executed.lines(structure, tests, comments)
    suspects = kept_lines(structure, fired(failed), comments)
    cleared = kept_lines(structure, fired(passed), comments)
    blamed = suspects - cleared
    if not blamed:
        ran = kept_lines(structure, fired(tests), comments)
        return CreditedLines(cleared, suspects or ran)
    if comments == "keep":
        blamed |= structure.comment_lines
    return CreditedLines(cleared, blamed)
