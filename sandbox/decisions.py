"""What a program's tests have decided so far, and when they have had time enough.

A program that shares a child between its tests was found to leave no state (`source_traits`). So a
test that ran to its end there counts as one in a fresh process, passed or failed. Not so where
something of the process itself ended it or may have: memory, a signal, an exit, a thread that is
left. Such a test is run again, alone. A test that was killed for its time has had all of it, since
the zygote's clocks begin again with each test.
"""

from __future__ import annotations

from sandbox.guest.layout import Claim
from sandbox.guest_link import RunReport
from stepcoder_dist.records import Limits, Outcome, TestResult

_TO_ITS_END = frozenset({Claim.FINE, Claim.FAILED, Claim.UNREADABLE})
_ROOMY_SHARE = 0.5
"""Of the memory limit: a child that stayed below it never lacked memory for an earlier test's."""


def decided_next_to_others(
    report: RunReport, place: int, result: TestResult, limits: Limits
) -> bool:
    """Return whether a test that was not the first of its child needs no process of its own."""
    if result.outcome is Outcome.PASSED:
        return True
    last = place == report.last_begun
    if last and report.killed:
        return result.outcome is Outcome.TIMEOUT and report.last_timed == place
    record = report.records[place]
    return (
        record.done
        and record.claim in _TO_ITS_END
        and result.outcome in (Outcome.WRONG_ANSWER, Outcome.RUNTIME_ERROR)
        and not report.memory_kills
        and report.peak_bytes <= limits.memory_bytes * _ROOMY_SHARE
    )


class Budget:
    """The processor time that a program's failing tests may take together.

    Tests that pass cost nothing, so a right program is never cut off. A test that timed out costs
    its limit, whichever clock it was, so that the same tests are left out at each time. A child
    that has used as much as the budget pauses between two tests, for a look at its answers.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.total_s = 2 * limits.cpu_s if limits.program_s is None else limits.program_s
        self._spent_s = 0.0
        self.timed_out = False
        """Whether a test has timed out for good."""

    def take(self, result: TestResult) -> None:
        """Count a result that is decided."""
        if result.outcome is Outcome.TIMEOUT:
            self.timed_out = True
            self._spent_s += self._limits.cpu_s
        elif result.outcome is not Outcome.PASSED:
            self._spent_s += min(result.cpu_ms / 1e3, self._limits.cpu_s)

    @property
    def spent(self) -> bool:
        return self._spent_s >= self.total_s

    @property
    def not_run(self) -> TestResult:
        """The result of each test that is left when the budget is spent."""
        return TestResult(
            outcome=Outcome.TIMEOUT,
            executed_lines=frozenset(),
            cpu_ms=0.0,
            detail=f"not run: the program's budget of {self.total_s:g} s was spent",
        )
