"""`rltf`: every line, and the line of an error twice."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stepcoder_dist.method.coverage_mask import kept_lines
from stepcoder_dist.method.credit_rules.credited_lines import Comments, CreditedLines
from stepcoder_dist.records import LineStructure, Outcome, TestResult

_WHERE = re.compile(r"\(line ([1-9][0-9]{0,6})\)$")
"""How a test's detail ends whose exception came out of the program: its innermost line there."""


def lines(
    structure: LineStructure, tests: Sequence[TestResult], comments: Comments
) -> CreditedLines:
    """RLTF (arXiv 2307.04349): coarse feedback on every token, fine feedback on the error's line.

    Every line of the program carries loss under either sign. Where the advantage is negative, the
    statements at which tests ended with an error count twice.

    From the paper: a penalty on all tokens and one of the same kind on those of the line that the
    interpreter names. There the two are losses of their own with fixed rewards by kind of error;
    here both are this sample's advantage, so that the rule goes with any `learner.advantage`.
    Errors that it attributes to the program as a whole (it does not compile, a wrong answer, a
    time-out) have no line here either. The paper's share of tests passed is
    `reward.kind = "pass_ratio"`, its pool of earlier samples is not here.

    Three lines, a test ends in `ZeroDivisionError: division by zero (line 2)`: all three rewarded
    by 1, blamed by 1, 2 and 1.
    """
    every = frozenset(range(1, len(structure.follows) + 1))
    if comments == "mask":
        every -= structure.comment_lines
    found = (_WHERE.search(t.detail) for t in tests if t.outcome is Outcome.RUNTIME_ERROR)
    errors = frozenset(int(where[1]) for where in found if where)
    named = kept_lines(structure, errors, comments) & every if errors else frozenset[int]()
    return CreditedLines(every, every, blame_weights=dict.fromkeys(sorted(named), 2.0))
