"""The book of samples: where every sample of a run is, from its plan to its fate.

      plan           start           buffer          buffer          take          trained
    ───────▶ PLANNED ─────▶ UNDER_WAY ─────▶ JUDGED ─────▶ BUFFERED ─────▶ IN_STEP ─────▶ TRAINED
                                │              │               │
                                │ lose         │ buffer        │ refuse_stale  │ trained
                                ▼              ▼               ▼               ▼
                              FAULT         REJECTED        REJECTED        REJECTED

    cancel_open: each of the five states ──▶ CANCELLED
    drop_group:  each but the last       ──▶ REJECTED

Where a rule compares the samples of a group (`whole_groups`), a step takes groups whose samples are
all there, and no parts of groups.

Both loops change the book, on one event loop. Each transition is one method, and raises `RunError`
for a sample that is not in the state before it. A sample that has its fate leaves the book, which
keeps the number of samples of each fate.

The book also holds the two weight versions that matter: that of the last finished learner step,
which staleness is measured against, and the one that the rollout actors have. Every wait, for
weights, room or a batch, is on one condition. Every change that may end a wait notifies it, and
every wait ends with an error when nothing changes any more (`patience.py`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import chain, groupby
from typing import Any

from stepcoder_dist.errors import RunError
from stepcoder_dist.loop.account import Account
from stepcoder_dist.loop.filling import flat_groups
from stepcoder_dist.loop.filling.flat_groups import Fills, Reserve, is_flat
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.loop.patience import Patience
from stepcoder_dist.records import Outcome, RolloutRequest, Ticket, WeightVersion

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
class _Sample:
    """One line of the book."""

    ticket: Ticket
    state: State = State.PLANNED
    request: RolloutRequest | None = None
    """From `UNDER_WAY` on."""
    judged: JudgedSample | None = None
    """From `JUDGED` on."""


@dataclass(frozen=True, slots=True)
class TrainedGroup:
    """A group that is trained entirely, for the curriculum; `passed` is in order of sample id."""

    problem_id: str
    stage: int
    passed: tuple[bool, ...]


class SampleBook:
    """The record of where each sample of a run is. Use it on one event loop."""

    def __init__(
        self,
        *,
        capacity: int,
        max_staleness: int,
        samples_per_group: int,
        patience: Patience,
        whole_groups: bool = False,
        fills_steps: bool = False,
    ) -> None:
        """`capacity` is that of the buffer, in samples; it holds what a run may plan ahead.

        `whole_groups`: take no part of a group. `fills_steps`: take no group whose samples scored
        alike before its step is full (`flat_groups.py`).
        """
        self.whole_groups = whole_groups or fills_steps
        self.fills_steps = fills_steps
        self.fills = Fills()
        self.patience = patience
        """The deadline of every wait for a change of the book."""
        self._capacity = capacity
        self._max_staleness = max_staleness
        self._samples_per_group = samples_per_group
        self._changed = asyncio.Condition()
        self._samples: dict[str, _Sample] = {}
        self._in_state: Counter[State] = Counter()
        self._passed: dict[str, dict[str, bool]] = {}
        """Whether each trained sample passed, by group and sample id, for incomplete groups."""
        self._sizes: dict[str, int] = {}
        """Of groups that an older version has left with fewer samples than planned."""
        self.account = Account()
        """Every plan and every fate since it was taken, for the run's ledger."""
        self.fates: Counter[Fate] = Counter()
        """Samples by fate, since the run began."""
        self.version: WeightVersion = 0
        """Of the last finished learner step, the one that the next step trains."""
        self.published: WeightVersion = 0
        """What the rollout actors hold: the weights of the samples that are planned now."""
        self.planned_steps = 0
        """Steps whose samples have been planned."""

    @property
    def open_ids(self) -> frozenset[str]:
        """The samples that have no fate yet."""
        return frozenset(self._samples)

    @property
    def buffered(self) -> int:
        """Samples that wait for a learner step."""
        return self._in_state[State.BUFFERED]

    def planned_groups(self) -> list[list[Ticket]]:
        """The tickets that nobody has started, by group, in the order of planning."""
        tickets = [s.ticket for s in self._samples.values() if s.state is State.PLANNED]
        tickets.sort(key=lambda ticket: (ticket.group, ticket.sample_id))
        return [list(group) for _, group in groupby(tickets, key=lambda ticket: ticket.group)]

    def request(self, sample_id: str) -> RolloutRequest:
        """Return what was requested for a sample. Raises `RunError` where nothing was."""
        sample = self._samples.get(sample_id)
        if sample is None or sample.request is None:
            raise RunError(f"sample {sample_id} is not under way")
        return sample.request

    def __contains__(self, sample_id: str) -> bool:
        """Whether the sample has no fate yet."""
        return sample_id in self._samples

    def is_planned(self, ticket: Ticket) -> bool:
        """Whether nobody has started the sample."""
        sample = self._samples.get(ticket.sample_id)
        return sample is not None and sample.state is State.PLANNED

    def started_groups(self, problem_id: str) -> list[str]:
        """The groups of a problem with an open sample that is not only planned."""
        started = (s for s in self._samples.values() if s.state is not State.PLANNED)
        tickets = (sample.ticket for sample in started)
        return sorted({ticket.group for ticket in tickets if ticket.problem_id == problem_id})

    # ---- the rollout loop's transitions ----

    async def turn_of(self, step: int) -> None:
        """Wait until the weights are published that the step's samples may be made with."""
        async with self._changed:
            await self._until(
                lambda: self.published >= step - self._max_staleness,
                f"weights of version {step - self._max_staleness}, to sample step {step + 1} with",
            )

    def plan(self, step: int, groups: Iterable[Iterable[Ticket]], reserve: Reserve = ()) -> None:
        """Take in the tickets of the next step. Raises `RunError` for any other step.

        `reserve`: what may take the place of its flat groups.
        """
        if step != self.planned_steps:
            raise RunError(f"step {step} was planned where step {self.planned_steps} is next")
        self.planned_steps = step + 1
        self.fills.of(step).reserve = reserve
        for ticket in chain.from_iterable(groups):
            self.add(ticket)

    def add(self, ticket: Ticket) -> None:
        """Take in one more ticket: of a step, or in the place of a lost sample."""
        self._take_in(ticket)
        self.account.plan(ticket)

    def _take_in(self, ticket: Ticket) -> None:
        if ticket.sample_id in self._samples:
            raise RunError(f"sample {ticket.sample_id} was planned twice")
        self._samples[ticket.sample_id] = _Sample(ticket)
        self._in_state[State.PLANNED] += 1

    def start(self, requests: Iterable[RolloutRequest]) -> None:
        """Record that an engine is asked for these samples."""
        for request in requests:
            self._move(request.ticket.sample_id, State.UNDER_WAY).request = request

    def lose(self, sample_id: str) -> None:
        """Record that a sample got no verdict, and so no reward: its fate is a fault."""
        self._move(sample_id, Fate.FAULT)

    def refuse(self, sample_id: str, why: str) -> None:
        """Reject a sample that was planned and will not be made."""
        self._move(sample_id, Fate.REJECTED, why=why)

    def drop_group(self, group: str, why: str) -> list[Ticket]:
        """Reject every open sample of a group that no step has taken; return their tickets.

        Those that an engine or the sandbox still has are not asked for any more.
        """
        open_now = [s for s in self._samples.values() if s.ticket.group == group]
        dropped = [s.ticket for s in open_now if s.state is not State.IN_STEP]
        for ticket in dropped:
            self._move(ticket.sample_id, Fate.REJECTED, why=why)
        return dropped

    async def flat_groups(self, step: int) -> list[str]:
        """Wait until all samples of the step are judged; return its groups that scored alike."""

        def of_step() -> list[_Sample]:
            return [s for s in self._samples.values() if s.ticket.planned_step == step]

        async with self._changed:
            await self._until(
                lambda: all(s.state in (State.BUFFERED, State.IN_STEP) for s in of_step()),
                f"the samples of step {step + 1}",
            )
        units = self._units(step)
        return sorted(group for group, have in units.items() if is_flat(have))

    async def is_full(self, step: int) -> None:
        """Record that no group of the step is replaced any more."""
        async with self._changed:
            self.fills.of(step).full = True
            self._changed.notify_all()

    def replace_flat(self, step: int, group: str, spare: Sequence[Ticket]) -> bool:
        """Reject a flat group and plan the next of the reserve; False where that is judged.

        So it is in a resumed run whose checkpoint held it.
        """
        fill, have = self.fills.of(step), self._units(step)[group]
        have.sort(key=lambda judged: judged.sample_id)
        ticket = have[0].request.ticket
        passed = tuple(j.trajectory.outcome is Outcome.PASSED for j in have)
        fill.outcomes.append((ticket.problem_id, ticket.stage, passed))
        fill.dropped += have
        fill.used += 1
        self.drop_group(group, flat_groups.WHY)
        for each in spare:
            self.add(each)
        kept = self.fills.kept(each.sample_id for each in spare)
        self.restore_judged(kept)
        return len(kept) < len(spare)

    async def buffer(self, judged: JudgedSample) -> bool:
        """Wait for room, then keep a judged sample for a learner step; False if it is too stale.

        True also where its group was dropped meanwhile: nothing has to take its place.
        """
        sample_id = judged.sample_id
        self._move(sample_id, State.JUDGED).judged = judged
        async with self._changed:
            await self._until(
                lambda: (
                    self.buffered < self._capacity
                    or self._is_stale(judged)
                    or sample_id not in self
                ),
                f"room in the buffer for sample {sample_id}",
            )
            if sample_id not in self:
                return True
            if self._is_stale(judged):
                self._move(sample_id, Fate.REJECTED, why="stale")
                return False
            self._move(sample_id, State.BUFFERED)
            self._changed.notify_all()
            return True

    # ---- the training loop's transitions ----

    async def take(self, count: int, step: int | None = None) -> list[JudgedSample]:
        """Wait for `count` samples and return them by id.

        First those that the next step could not train any more, then those that were planned first.
        With `step` they are those that were planned for it. With `whole_groups` the same of groups.
        Raises `ValueError` for more than the capacity.
        """
        if count > self._capacity:
            raise ValueError(f"count = {count} exceeds the buffer's capacity of {self._capacity}")

        async with self._changed:
            await self._until(
                lambda: self.buffered >= count and len(self._next(count, step)) == count,
                f"the {count} samples of step {self.version + 1}",
            )
            chosen = self._next(count, step)
            batch = sorted(chosen, key=lambda judged: judged.sample_id)
            for judged in batch:
                self._move(judged.sample_id, State.IN_STEP)
            self._changed.notify_all()
        return batch

    async def ahead(self) -> list[JudgedSample]:
        """Wait until every sample is judged that an older version than the learner's has to make.

        In a strict lag of k these are the next k steps. Return them by id. They stay in the book.
        With them come those that were dropped of these steps.
        """
        until = self.version + self._max_staleness
        planned = min(until, self.planned_steps)

        def of_these_steps() -> list[_Sample]:
            return [s for s in self._samples.values() if s.ticket.planned_step < until]

        async with self._changed:
            await self._until(
                # a stop may have come when a step had taken its samples and not begun
                lambda: (
                    all(s.state in (State.BUFFERED, State.IN_STEP) for s in of_these_steps())
                    and (not self.fills_steps or self.fills.full(self.version, planned))
                ),
                f"the samples of the steps before {until + 1}, which the checkpoint holds",
            )
        found = [sample.judged for sample in of_these_steps() if sample.judged is not None]
        found += self.fills.dropped(until)
        return sorted(found, key=lambda judged: judged.sample_id)

    async def trained(
        self,
        batch: Sequence[JudgedSample],
        version: WeightVersion,
        untrained: Collection[str] = (),
    ) -> list[TrainedGroup]:
        """Record that a step trained the batch and made `version`; return the completed groups.

        A group can be spread over steps where rollouts run ahead; it is returned once. Those that
        were dropped of the step as flat come first: their outcomes are known as well. `untrained`:
        ids of samples whose update was skipped. They are rejected, and their outcomes count.
        """
        if version != self.version + 1:
            raise RunError(f"the learner made version {version} after version {self.version}")
        async with self._changed:
            for judged in batch:
                if judged.sample_id in untrained:
                    self._move(judged.sample_id, Fate.REJECTED, why=NON_FINITE)
                else:
                    self._move(judged.sample_id, Fate.TRAINED)
            self.version = version
            self._changed.notify_all()
        dropped = [TrainedGroup(*outcome) for outcome in self.fills.trained(version)]
        return dropped + self._completed_by(batch)

    async def refuse_stale(self) -> list[RolloutRequest]:
        """Reject what is buffered and too old for the next step; return the requests for it."""
        async with self._changed:
            stale = [judged for judged in self._buffer() if self._is_stale(judged)]
            for judged in stale:
                self._move(judged.sample_id, Fate.REJECTED, why="stale")
            self._changed.notify_all()
        return [judged.request for judged in stale]

    async def publish(self, version: WeightVersion) -> None:
        """Record that the rollout actors now hold `version`."""
        if version > self.version:
            raise RunError(f"version {version} was published after learner step {self.version}")
        async with self._changed:
            self.published = version
            self._changed.notify_all()

    def cancel_open(self) -> None:
        """Cancel what has no fate yet, at the end of a run: it will not be trained."""
        for sample_id in self.open_ids:
            self._move(sample_id, Fate.CANCELLED)

    # ---- checkpoints ----

    def snapshot(self) -> dict[str, Any]:
        """Return what a checkpoint of the last finished step holds, as plain JSON data.

        Take it between two awaits: every sample then has its fate or is on its way.
        """
        return self.frozen()()

    def frozen(self) -> Callable[[], dict[str, Any]]:
        """Return what makes the `snapshot` of now, whenever it is called.

        Every step is frozen, and few steps have a checkpoint that is made from it.
        """
        version, planned_steps, fates = self.version, self.planned_steps, self.fates.copy()
        open_tickets = [sample.ticket for sample in self._samples.values()]
        steps = {ticket.planned_step for ticket in open_tickets}
        fills = {"fills": self.fills.snapshot(steps)} if self.fills_steps else {}
        passed_by_group = [(group, passed.copy()) for group, passed in self._passed.items()]

        def snapshot() -> dict[str, Any]:
            tickets = sorted(open_tickets, key=lambda ticket: ticket.sample_id)
            return fills | {
                "version": version,
                "planned_steps": planned_steps,
                "on_their_way": [asdict(ticket) for ticket in tickets],
                "groups": dict(passed_by_group),
                "samples": {fate.value: number for fate, number in fates.items()},
            }

        return snapshot

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Continue where `snapshot` was taken; call it before the loops start."""
        self.version = self.published = snapshot["version"]
        self.planned_steps = snapshot["planned_steps"]
        self.fills.restore(snapshot.get("fills", {}))
        for fields in snapshot["on_their_way"]:
            # old checkpoints have no groups in their tickets: there the sample's id begins with it
            group = fields["sample_id"].rpartition("-")[0]
            self._take_in(Ticket(**{"group": group, **fields}))
        self._passed = {group: dict(passed) for group, passed in snapshot["groups"].items()}
        for group, number in Counter(s.ticket.group for s in self._samples.values()).items():
            # the samples of a quarantined problem left their group one at a time
            known = number + len(self._passed.get(group, ()))
            if known < self._samples_per_group:
                self._sizes[group] = known
        self.fates.update({Fate(name): number for name, number in snapshot["samples"].items()})

    def restore_judged(self, samples: Iterable[JudgedSample]) -> None:
        """Put samples of a checkpoint into the buffer; call it after `restore`.

        One that is not planned waits until it is.
        """
        for judged in samples:
            if judged.sample_id not in self:
                self.fills.keep(judged)
                continue
            self.start([judged.request])
            self._move(judged.sample_id, State.JUDGED).judged = judged
            self._move(judged.sample_id, State.BUFFERED)

    def _move(self, sample_id: str, to: State | Fate, *, why: str = "") -> _Sample:
        """Make one transition. Raises `RunError` for a sample that cannot make it.

        `why` is the reason for a rejection.
        """
        sample = self._samples.get(sample_id)
        if sample is None or sample.state not in _BEFORE[to]:
            now = f"is {sample.state}" if sample else "was never planned or has its fate"
            raise RunError(f"sample {sample_id} cannot be {to}: it {now}")
        self._in_state[sample.state] -= 1
        self.patience.moved()
        if isinstance(to, Fate):
            del self._samples[sample_id]
            self.fates[to] += 1
            self.account.end(sample_id, to, why)
        else:
            sample.state = to
            self._in_state[to] += 1
        return sample

    async def _until(self, there: Callable[[], object], what: str) -> None:
        """Wait for a change, holding the condition. Raises `RunError` at a halt."""

        def words() -> str:
            states = ", ".join(f"{n} {state}" for state, n in self._in_state.items() if n)
            return f"{what} (samples: {states or 'none'})"

        await self.patience.until(self._changed, there, words)

    def _buffer(self) -> list[JudgedSample]:
        samples = (s for s in self._samples.values() if s.state is State.BUFFERED)
        return [sample.judged for sample in samples if sample.judged is not None]

    def _next(self, count: int, step: int | None) -> list[JudgedSample]:
        """Return what the next step would take, fewer than `count` where they are not there."""
        urgent = self.version + 1 - self._max_staleness
        units = self._units(step)
        if self.fills_steps:
            units = {group: have for group, have in units.items() if self._has_place(have)}

        def order(unit: str) -> tuple[bool, str]:
            return all(j.trajectory.oldest_weights >= urgent for j in units[unit]), unit

        chosen: list[JudgedSample] = []
        for unit in sorted(units, key=order):
            if len(chosen) + len(units[unit]) <= count:
                chosen += units[unit]
        return chosen

    def _units(self, step: int | None) -> dict[str, list[JudgedSample]]:
        """Return what waits for the step, or for any: complete groups, or samples."""
        units: dict[str, list[JudgedSample]] = {}
        for judged in self._buffer():
            ticket = judged.request.ticket
            if step in (None, ticket.planned_step):
                unit = ticket.group if self.whole_groups else ticket.sample_id
                units.setdefault(unit, []).append(judged)
        if not self.whole_groups:
            return units
        return {group: have for group, have in units.items() if self._is_whole(group, have)}

    def _has_place(self, group: Sequence[JudgedSample]) -> bool:
        """Return whether a group will not be replaced."""
        return not is_flat(group) or self.fills.of(group[0].request.ticket.planned_step).full

    def _is_whole(self, group: str, buffered: Sequence[JudgedSample]) -> bool:
        size = self._sizes.get(group, self._samples_per_group)
        return len(buffered) + len(self._passed.get(group, ())) >= size

    def _is_stale(self, judged: JudgedSample) -> bool:
        return self.version - judged.trajectory.oldest_weights > self._max_staleness

    def _completed_by(self, batch: Sequence[JudgedSample]) -> list[TrainedGroup]:
        completed = []
        for trajectory in (judged.trajectory for judged in batch):
            ticket = trajectory.ticket
            passed = self._passed.setdefault(ticket.group, {})
            passed[ticket.sample_id] = trajectory.outcome is Outcome.PASSED
            if len(passed) == self._samples_per_group:
                del self._passed[ticket.group]
                in_order = tuple(passed[sample_id] for sample_id in sorted(passed))
                completed.append(TrainedGroup(ticket.problem_id, ticket.stage, in_order))
        return completed


def open_in(snapshot: Mapping[str, Any]) -> frozenset[str]:
    """The ids of the samples that were on their way when `SampleBook.snapshot` was taken."""
    return frozenset(fields["sample_id"] for fields in snapshot["on_their_way"])
