"""The lines of the book of samples: one for each sample without a fate, and its transitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from stepcoder_dist.errors import RunError
from stepcoder_dist.loop.account import Account
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.loop.patience import Changes, Patience
from stepcoder_dist.records import RolloutRequest, Ticket

NON_FINITE = "non_finite"
"""Why samples of a skipped update are rejected."""


class State(StrEnum):
    """Where a sample that has no fate yet is."""

    PLANNED = "planned"
    """It has a ticket. A checkpoint leaves every open sample in this state."""
    UNDER_WAY = "under way"
    """An engine samples it or the sandbox judges it."""
    JUDGED = "judged"
    """It waits for room in the buffer."""
    BUFFERED = "buffered"
    """It waits for a learner step."""
    IN_STEP = "in a learner step"


class Fate(StrEnum):
    """How a sample ended."""

    TRAINED = "trained"
    REJECTED = "rejected"
    """Too stale to be trained, of a quarantined problem or a dropped group, or of an update that
    was not finite."""
    FAULT = "infrastructure_error"
    CANCELLED = "cancelled"


_BEFORE: Mapping[State | Fate, frozenset[State]] = {
    State.UNDER_WAY: frozenset({State.PLANNED}),
    State.JUDGED: frozenset({State.UNDER_WAY}),
    State.BUFFERED: frozenset({State.JUDGED}),
    State.IN_STEP: frozenset({State.BUFFERED}),
    Fate.TRAINED: frozenset({State.IN_STEP}),
    Fate.REJECTED: frozenset(State),
    Fate.FAULT: frozenset({State.UNDER_WAY}),
    Fate.CANCELLED: frozenset(State),
}
"""The states that a sample may come from."""


@dataclass(slots=True)
class Line:
    """One line of the book."""

    ticket: Ticket
    state: State = State.PLANNED
    request: RolloutRequest | None = None
    """From `UNDER_WAY` on."""
    judged: JudgedSample | None = None
    """From `JUDGED` on."""

    @property
    def is_judged(self) -> bool:
        """Whether it waits for a learner step or is in one."""
        return self.state in (State.BUFFERED, State.IN_STEP)


class Lines:
    """Every sample that has no fate yet, by id, and the number of samples of each fate.

    Every wait is on `changed`, which hears of every move.
    """

    def __init__(self, patience: Patience) -> None:
        self.changed = Changes()
        self.account = Account()
        """Every plan and every fate since it was taken, for the run's ledger."""
        self.fates: Counter[Fate] = Counter()
        """Samples by fate, since the run began."""
        self._patience = patience
        self._lines: dict[str, Line] = {}
        self._in_state: Counter[State] = Counter()

    def __contains__(self, sample_id: str) -> bool:
        return sample_id in self._lines

    def ids(self) -> frozenset[str]:
        """Return the ids of all samples."""
        return frozenset(self._lines)

    def all(self) -> list[Line]:
        """Return all lines, in the order in which they were taken in."""
        return list(self._lines.values())

    def get(self, sample_id: str) -> Line | None:
        """Return the line of a sample; None if it was never planned or has its fate."""
        return self._lines.get(sample_id)

    def number(self, state: State) -> int:
        """Return how many samples are in a state."""
        return self._in_state[state]

    def buffer(self) -> list[JudgedSample]:
        """Return what waits for a learner step."""
        lines = (line for line in self._lines.values() if line.state is State.BUFFERED)
        return [line.judged for line in lines if line.judged is not None]

    def planned_groups(self) -> list[list[Ticket]]:
        """Return the tickets that nobody has started, by group, in the order of planning."""
        tickets = [line.ticket for line in self._lines.values() if line.state is State.PLANNED]
        tickets.sort(key=lambda ticket: (ticket.group, ticket.sample_id))
        return [list(group) for _, group in groupby(tickets, key=lambda ticket: ticket.group)]

    def started_groups(self, problem_id: str) -> list[str]:
        """Return the groups of a problem with an open sample that is not only planned."""
        started = (line for line in self._lines.values() if line.state is not State.PLANNED)
        tickets = (line.ticket for line in started)
        return sorted({ticket.group for ticket in tickets if ticket.problem_id == problem_id})

    def take_in(self, ticket: Ticket) -> None:
        """Begin a line. Raises `RunError` for a sample that has one."""
        if ticket.sample_id in self._lines:
            raise RunError(f"sample {ticket.sample_id} was planned twice")
        self._lines[ticket.sample_id] = Line(ticket)
        self._in_state[State.PLANNED] += 1

    def plan(self, ticket: Ticket) -> None:
        """Begin the line of a sample that was planned now, and note it for the ledger."""
        self.take_in(ticket)
        self.account.plan(ticket)

    def drop_group(self, group: str, why: str) -> list[Ticket]:
        """Reject every sample of a group that no step has taken; return their tickets."""
        open_now = [line for line in self._lines.values() if line.ticket.group == group]
        dropped = [line.ticket for line in open_now if line.state is not State.IN_STEP]
        for ticket in dropped:
            self.move(ticket.sample_id, Fate.REJECTED, why=why)
        return dropped

    def move(self, sample_id: str, to: State | Fate, *, why: str = "") -> Line:
        """Make one transition. Raises `RunError` for a sample that cannot make it.

        `why` is the reason for a rejection.
        """
        line = self._lines.get(sample_id)
        if line is None or line.state not in _BEFORE[to]:
            now = f"is {line.state}" if line else "was never planned or has its fate"
            raise RunError(f"sample {sample_id} cannot be {to}: it {now}")
        self._in_state[line.state] -= 1
        self._patience.moved()
        self.changed.notify()
        if isinstance(to, Fate):
            del self._lines[sample_id]
            self.fates[to] += 1
            self.account.end(sample_id, to, why)
        else:
            line.state = to
            self._in_state[to] += 1
        return line

    async def until(self, there: Callable[[], object], what: str) -> None:
        """Wait until `there()`. Raises `RunError` at a halt."""

        def words() -> str:
            states = ", ".join(f"{n} {state}" for state, n in self._in_state.items() if n)
            return f"{what} (samples: {states or 'none'})"

        await self._patience.until(self.changed, there, words)
