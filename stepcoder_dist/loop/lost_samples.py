"""When samples that got no verdict are too many to go on."""

from __future__ import annotations

from collections import Counter

from stepcoder_dist.errors import CheckerFault, RunError, SandboxFault

# What loses this many in a row will not recover by itself.
MAX_LOST_IN_A_ROW = 32
# Several answers of one problem may be beyond its checker; this many, and nothing else, are not.
MAX_CHECKER_FAULTS = 8


class Losses:
    """Counts what the sandbox fails on, and what a problem's own checker fails on apart from it:
    one broken checker says nothing about the sandbox, and a sandbox that works does not fix it."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._checker_faults: Counter[str] = Counter()

    def none(self, problem_id: str) -> None:
        """A sample of this problem got its verdict."""
        self._in_a_row = 0
        self._checker_faults.pop(problem_id, None)

    def count(self, problem_id: str, fault: SandboxFault) -> None:
        """A sample was lost. Raises `RunError` where more of them would not help."""
        if isinstance(fault, CheckerFault):
            self._checker_faults[problem_id] += 1
            if self._checker_faults[problem_id] >= MAX_CHECKER_FAULTS:
                raise RunError(
                    f"problem {problem_id}: its checker failed on {MAX_CHECKER_FAULTS} programs in "
                    f"a row, the last time so: {fault}; fix it (`check` must return False for an "
                    "answer that it cannot read) or leave the problem out"
                ) from fault
            return
        self._in_a_row += 1
        if self._in_a_row >= MAX_LOST_IN_A_ROW:
            raise RunError(
                f"{self._in_a_row} samples in a row were lost, the last to: {fault}; "
                "what the processes printed is in /tmp/ray/session_latest/logs"
            ) from fault
