"""The state of one run: what both loops see, and what a checkpoint holds beside the learner.

Everything is changed on one event loop, and `state` is taken between two awaits: a snapshot sees
every sample either trained, or refused and replaced, or on its way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stepcoder_dist.config import RunConfig
from stepcoder_dist.host.interruption import StopRequest
from stepcoder_dist.loop.buffer import Ledger, TrajectoryBuffer, VersionGate
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.loop.planner import Planner
from stepcoder_dist.method.curriculum import Curriculum
from stepcoder_dist.ports import Executor, Learner, Sampler
from stepcoder_dist.records import (
    Fate,
    Outcome,
    Problem,
    Ticket,
    Trajectory,
    WeightVersion,
)
from stepcoder_dist.text.program import PromptWriter

STATE_KEYS = frozenset(
    {
        "version",
        "config",
        "sources",
        "curriculum",
        "planner",
        "planned_steps",
        "on_their_way",
        "groups",
        "samples",
    }
)
"""What `Run.state` holds."""


async def nothing(_version: WeightVersion) -> None:
    """Between two steps, nothing is done."""


@dataclass(slots=True)
class Run:
    """The parts of one run, joined by `run/session.py`; what both loops see."""

    config: RunConfig
    problems: Mapping[str, Problem]
    curriculum: Curriculum
    planner: Planner
    writer: PromptWriter
    sampler: Sampler
    executor: Executor
    learner: Learner
    sources: Mapping[str, str] = field(default_factory=dict)
    """Digests of what the run is made from (`content_digest.sources`)."""
    ledger: Ledger = field(default_factory=Ledger)
    stop: StopRequest = field(default_factory=StopRequest)
    version: WeightVersion = 0
    """The last finished step."""
    groups: dict[str, dict[str, bool]] = field(default_factory=dict)
    """Trained samples whose group is not complete: by group, by sample id, did it pass?"""
    planned_steps: int = 0
    """Steps whose samples have been planned."""
    tickets: dict[str, Ticket] = field(default_factory=dict)
    """Of the samples that are on their way, and of some that no longer are."""
    judged: dict[str, JudgedSample] = field(default_factory=dict)
    """What the buffered trajectories were made from, by sample id, until their step is recorded."""
    between_steps: Callable[[WeightVersion], Awaitable[None]] = nothing
    """Awaited when a step is recorded and the actors hold its weights, before the next is planned;
    the step's clock does not run."""
    buffer: TrajectoryBuffer = field(init=False)
    gate: VersionGate = field(init=False)

    def __post_init__(self) -> None:
        staleness = self.config.train.max_staleness
        self.buffer = TrajectoryBuffer(
            capacity=self.config.learner.samples_per_step * (staleness + 1),
            max_staleness=staleness,
            ledger=self.ledger,
        )
        self.gate = VersionGate(self.version)

    def plan(self, ticket: Ticket) -> None:
        """From now on the sample is on its way. Raises `RunError` when it is already."""
        self.ledger.plan(ticket.sample_id)
        self.tickets[ticket.sample_id] = ticket

    def open_tickets(self) -> list[Ticket]:
        """What is on its way, in the order of planning."""
        open_ids = self.ledger.open_ids
        self.tickets = {key: value for key, value in self.tickets.items() if key in open_ids}
        return [self.tickets[sample_id] for sample_id in sorted(open_ids)]

    async def _begin_at(self, version: WeightVersion) -> None:
        self.version = version
        await self.buffer.advance(version)
        await self.gate.open(version)

    def record_outcomes(self, batch: Sequence[Trajectory]) -> None:
        """Tell the curriculum what groups did, each when its last sample has been trained.

        A group can be spread over batches when rollouts run ahead; it enters the average once.
        """
        stages: dict[str, tuple[str, int]] = {}
        for trajectory in batch:
            ticket = trajectory.ticket
            group = ticket.group
            stages[group] = (ticket.problem_id, ticket.stage)
            passed = trajectory.outcome is Outcome.PASSED
            self.groups.setdefault(group, {})[ticket.sample_id] = passed
        size = self.config.sampling.samples_per_problem
        for group in sorted(name for name, members in self.groups.items() if len(members) == size):
            members = self.groups.pop(group)
            self.curriculum.record(*stages[group], [members[name] for name in sorted(members)])

    def state(self) -> dict[str, Any]:
        """What a checkpoint of the last finished step holds: plain JSON data."""
        return {
            "version": self.version,
            "config": self.config.model_dump(mode="json"),
            "sources": dict(self.sources),
            "curriculum": self.curriculum.state_dict(),
            "planner": self.planner.state_dict(),
            "planned_steps": self.planned_steps,
            "on_their_way": [asdict(ticket) for ticket in self.open_tickets()],
            "groups": {group: dict(members) for group, members in self.groups.items()},
            "samples": {fate.value: number for fate, number in self.ledger.counts.items()},
        }

    async def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; call it before the loops start."""
        self.curriculum.load_state_dict(state["curriculum"])
        self.planner.load_state_dict(state["planner"])
        self.planned_steps = state["planned_steps"]
        for fields in state["on_their_way"]:
            self.plan(_ticket(fields))
        self.groups = {group: dict(members) for group, members in state["groups"].items()}
        self.ledger.counts.update({Fate(name): number for name, number in state["samples"].items()})
        await self._begin_at(state["version"])


def _ticket(fields: Mapping[str, Any]) -> Ticket:
    """A checkpoint's ticket. An old one does not name its group: there it is the id's beginning."""
    return Ticket(**{"group": fields["sample_id"].rpartition("-")[0], **fields})
