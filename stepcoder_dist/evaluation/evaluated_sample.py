"""One sample of an evaluation: what its row in the file holds, and scores are computed from."""

from __future__ import annotations

from dataclasses import dataclass

from stepcoder_dist.records import Outcome, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedSample:
    """One program written from nothing but the prompt, and the results of its tests."""

    sample_id: str
    problem_id: str
    level: str
    source: str
    outcome: Outcome | None
    """None where the sandbox failed on it. It counts for nothing; the table says how many."""
    tests_passed: int = 0
    tests_total: int = 0
    """Tests that have a result; 0 for a program that does not compile."""
    executed_share: float | None = None
    """Share of the lines with code that some test executed; None where it is not known."""

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.PASSED


def executed_share(verdict: Verdict) -> float | None:
    """Compute `EvaluatedSample.executed_share` of a verdict."""
    if verdict.structure is None or not verdict.coverage_trusted:
        return None
    lines = verdict.structure.code_lines
    return len(lines & verdict.executed_lines) / len(lines) if lines else None
