"""The limit beyond which a run ends because too many samples got no verdict."""

from __future__ import annotations

from stepcoder_dist.errors import CheckerFault, RunError, SandboxFault
from stepcoder_dist.host.fault_streak import FaultStreak

# A fault that loses this many in a row will not recover by itself.
MAX_LOST_IN_A_ROW = 32
# Several answers of one problem may be beyond its checker. This many in a row show that it is
# broken.
MAX_CHECKER_FAULTS = 8


class LostSamples:
    """Counts the samples that got no verdict, with the faults of each checker counted separately.

    One broken checker says nothing about the sandbox, and a sandbox that works does not fix it.
    """

    def __init__(self) -> None:
        self._lost = FaultStreak(MAX_LOST_IN_A_ROW, _sandbox_gone)
        self._by_checker: dict[str, FaultStreak] = {}

    def judged(self, problem_id: str) -> None:
        """Count a sample of this problem that got its verdict."""
        self._lost.success()
        self._by_checker.pop(problem_id, None)

    def add(self, problem_id: str, fault: SandboxFault) -> None:
        """Count a lost sample. Raises `RunError` where trying again would not help."""
        if not isinstance(fault, CheckerFault):
            self._lost.fault(fault)
            return
        if problem_id not in self._by_checker:
            self._by_checker[problem_id] = FaultStreak(
                MAX_CHECKER_FAULTS, lambda n, last: _checker_broken(problem_id, n, last)
            )
        self._by_checker[problem_id].fault(fault)


def _sandbox_gone(lost: int, last: Exception) -> RunError:
    return RunError(
        f"{lost} samples in a row were lost, the last to: {last}; "
        "what the processes printed is in /tmp/ray/session_latest/logs"
    )


def _checker_broken(problem_id: str, faults: int, last: Exception) -> RunError:
    return RunError(
        f"problem {problem_id}: its checker failed on {faults} programs in "
        f"a row, the last time with: {last}; fix it (`check` must return False for an "
        "answer that it cannot read) or leave the problem out"
    )
