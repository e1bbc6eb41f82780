"""`suspicion`: blame and credit by degrees, from all tests' lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from math import sqrt

from stepcoder_dist.method.coverage_mask import kept_lines
from stepcoder_dist.method.credit_rules import executed
from stepcoder_dist.method.credit_rules.credited_lines import Comments, CreditedLines, fired
from stepcoder_dist.records import LineStructure, Outcome, TestResult


def lines(
    structure: LineStructure, tests: Sequence[TestResult], comments: Comments
) -> CreditedLines:
    """Spectrum-based fault localisation with Ochiai's coefficient (Abreu et al. 2007).

    doi.org/10.1109/TAIC.PART.2007.13. With F failing tests, of which ef execute a line, and ep
    passing tests that execute it, the line's suspicion is

        s = ef / √(F · (ef + ep)),    from 0 (no failing test) to 1 (all of them, no other)

    The paper ranks lines for a programmer. Here s weighs their tokens' loss: a negative advantage
    blames lines with s > 0 by s / max s, any other rewards lines with s < 1 by 1 − s. A program
    that passes every test has no fault to localise: as `executed`. Where the failing tests executed
    nothing, every executed line is blamed, so that their reward is not lost.

    A passing test executed {1, 2}, a failing one {1, 4}: s = 1/√2 ≈ 0.71 for 1, 0 for 2, 1 for 4.
    Blamed: 1 by 0.71, 4 by 1. Rewarded: 1 by 0.29, 2 by 1.
    """
    failed = [test for test in tests if test.outcome is not Outcome.PASSED]
    if not failed:
        return executed.lines(structure, tests, comments)
    ran = kept_lines(structure, fired(tests), comments)
    failures = _times(structure, failed, comments)
    passes = _times(structure, [test for test in tests if test.outcome is Outcome.PASSED], comments)
    suspicion = {
        line: failures[line] / sqrt(len(failed) * (failures[line] + passes[line]))
        for line in ran
        if failures[line]
    }
    most = max(suspicion.values(), default=0.0)
    rewarded = {line: 1 - suspicion.get(line, 0.0) for line in ran}
    return CreditedLines(
        rewarded=frozenset(line for line, weight in rewarded.items() if weight > 0),
        blamed=frozenset(suspicion) or ran,
        reward_weights={line: weight for line, weight in rewarded.items() if 0 < weight < 1},
        blame_weights={line: s / most for line, s in suspicion.items() if s < most},
    )


def _times(
    structure: LineStructure, tests: Sequence[TestResult], comments: Comments
) -> Counter[int]:
    """Return how many of the tests executed each line."""
    each = (kept_lines(structure, test.executed_lines, comments) for test in tests)
    return Counter(chain.from_iterable(each))
