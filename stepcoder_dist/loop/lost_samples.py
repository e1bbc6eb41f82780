"""Samples that got no verdict: when a group is given up, a problem quarantined, the run ended."""

from __future__ import annotations

from collections import Counter

from stepcoder_dist.errors import CheckerFault, RunError, SandboxFault
from stepcoder_dist.host.fault_streak import FaultStreak
from stepcoder_dist.records import Ticket

# A fault that loses this many in a row will not recover by itself.
MAX_LOST_IN_A_ROW = 32


class LostSamples:
    """Counts the samples that got no verdict, of all problems and of each.

    One problem whose programs only fail is set aside and says nothing about the sandbox.
    """

    def __init__(self, problems: int, quarantine_after: int, group_losses: int = 8) -> None:
        """`problems` is their number; the last one is never set aside.

        `group_losses`: lost samples of a group after which it is given up.
        """
        self._problems = problems
        self._quarantine_after = quarantine_after
        self._group_losses = group_losses
        self._by_group: Counter[str] = Counter()
        self._lost = FaultStreak(MAX_LOST_IN_A_ROW, _sandbox_gone)
        self._by_problem: Counter[str] = Counter()
        self.quarantined: set[str] = set()
        """Problems of which nothing more is sampled."""

    def judged(self, problem_id: str) -> None:
        """Count a sample of this problem that got its verdict."""
        self._lost.success()
        self._by_problem.pop(problem_id, None)

    def gives_up(self, ticket: Ticket) -> bool:
        """Count a lost sample of the group; return whether the group is not completed any more."""
        self._by_group[ticket.group] += 1
        losses = self._by_group[ticket.group]
        if ticket.problem_id not in self.quarantined and losses < self._group_losses:
            return False
        del self._by_group[ticket.group]
        return True

    def add(self, problem_id: str, fault: SandboxFault) -> bool:
        """Count a lost sample; return whether its problem is quarantined by it.

        Raises `RunError` where trying again would not help.
        """
        if not isinstance(fault, CheckerFault):
            self._lost.fault(fault)
        self._by_problem[problem_id] += 1
        faults = self._by_problem[problem_id]
        if problem_id in self.quarantined or faults < self._quarantine_after:
            return False
        if self.set_aside(problem_id):
            return True
        if isinstance(fault, CheckerFault):
            raise _checker_broken(problem_id, faults, fault) from fault
        return False

    def set_aside(self, problem_id: str) -> bool:
        """Quarantine a problem; False for the last one that is left."""
        if len(self.quarantined) + 1 >= self._problems:
            return False
        self.quarantined.add(problem_id)
        return True


def _sandbox_gone(lost: int, last: Exception) -> RunError:
    return RunError(
        f"{lost} samples in a row were lost, the last to: {last}; "
        "what the processes printed is in /tmp/ray/session_latest/logs"
    )


def _checker_broken(problem_id: str, faults: int, last: Exception) -> RunError:
    return RunError(
        f"problem {problem_id}: its checker failed on {faults} programs in "
        f"a row, the last time with: {last}; no other problem is left; fix it (`check` must "
        "return False for an answer that it cannot read) or leave the problem out"
    )
