"""What a trajectory was made from: stays with the driver, for readers and for another try."""

from __future__ import annotations

from dataclasses import dataclass

from stepcoder_dist.method.credit import CreditedLines
from stepcoder_dist.records import Completion, Program, RolloutRequest, Verdict


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JudgedSample:
    """What a trajectory was made from."""

    request: RolloutRequest
    completion: Completion
    program: Program
    verdict: Verdict
    lines: CreditedLines | None
    """None: every token carries loss."""
    tests_total: int
    """Of the problem: a program that does not compile has no test results."""
