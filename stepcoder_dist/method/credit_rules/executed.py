"""`executed`: FGO."""

from __future__ import annotations

from collections.abc import Sequence

from stepcoder_dist.method.coverage_mask import kept_lines
from stepcoder_dist.method.credit_rules.credited_lines import Comments, CreditedLines, fired
from stepcoder_dist.records import LineStructure, TestResult


def lines(
    structure: LineStructure, tests: Sequence[TestResult], comments: Comments
) -> CreditedLines:
    """FGO (StepCoder §4, arXiv 2402.01391, Eq. 5): what some test executed, for either sign.

    Tests that executed lines {1, 2} and {1, 4} keep 1, 2 and 4.
    """
    ran = kept_lines(structure, fired(tests), comments)
    return CreditedLines(ran, ran)
