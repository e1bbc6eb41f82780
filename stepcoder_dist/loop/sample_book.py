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
weights, room or a batch, hears of every change, and ends with an error when nothing changes any
more (`patience.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from stepcoder_dist.errors import RunError
from stepcoder_dist.loop.account import Account
from stepcoder_dist.loop.book.groups import Groups, TrainedGroup
from stepcoder_dist.loop.book.lines import NON_FINITE, Fate, Lines, State
from stepcoder_dist.loop.book.next_batch import NextBatch
from stepcoder_dist.loop.book.refill import Refill
from stepcoder_dist.loop.book.saved import SavedParts
from stepcoder_dist.loop.filling.flat_groups import Fills, Reserve
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.loop.patience import Patience
from stepcoder_dist.records import RolloutRequest, Ticket, WeightVersion


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
        program_room: int = 0,
    ) -> None:
        """`capacity` is that of the buffer, in samples; it holds what a run may plan ahead.

        `whole_groups`: take no part of a group. `fills_steps`: take no group whose samples scored
        alike before its step is full (`flat_groups.py`). `program_room`: completed groups come with
        the sources that passed, of at most so many tokens with their prompts.
        """
        self.whole_groups = whole_groups or fills_steps
        self.fills_steps = fills_steps
        self.fills = Fills()
        self.patience = patience
        """The deadline of every wait for a change of the book."""
        self._capacity = capacity
        self._max_staleness = max_staleness
        self._lines = Lines(patience)
        self._groups = Groups(samples_per_group, program_room=program_room)
        self._saved = SavedParts(self._lines, self._groups, self.fills, self.fills_steps)
        self._next = NextBatch(
            self._lines, self._groups, self.fills, self.whole_groups, self.fills_steps
        )
        self.refill = Refill(self._lines, self.fills, self._saved, self._next.units)
        """How flat groups are replaced until a step is full."""
        self.version: WeightVersion = 0
        """Of the last finished learner step, the one that the next step trains."""
        self.published: WeightVersion = 0
        """What the rollout actors hold: the weights of the samples that are planned now."""
        self.planned_steps = 0
        """Steps whose samples have been planned."""

    @property
    def account(self) -> Account:
        """Every plan and every fate since it was taken, for the run's ledger."""
        return self._lines.account

    @property
    def fates(self) -> Counter[Fate]:
        """Samples by fate, since the run began."""
        return self._lines.fates

    @property
    def open_ids(self) -> frozenset[str]:
        """The samples that have no fate yet."""
        return self._lines.ids()

    @property
    def buffered(self) -> int:
        """Samples that wait for a learner step."""
        return self._lines.number(State.BUFFERED)

    def planned_groups(self) -> list[list[Ticket]]:
        """Return the tickets that nobody has started, by group, in the order of planning."""
        return self._lines.planned_groups()

    def request(self, sample_id: str) -> RolloutRequest:
        """Return what was requested for a sample. Raises `RunError` where nothing was."""
        line = self._lines.get(sample_id)
        if line is None or line.request is None:
            raise RunError(f"sample {sample_id} is not under way")
        return line.request

    def __contains__(self, sample_id: str) -> bool:
        """Return whether the sample has no fate yet."""
        return sample_id in self._lines

    def is_planned(self, ticket: Ticket) -> bool:
        """Return whether nobody has started the sample."""
        line = self._lines.get(ticket.sample_id)
        return line is not None and line.state is State.PLANNED

    def started_groups(self, problem_id: str) -> list[str]:
        """Return the groups of a problem with an open sample that is not only planned."""
        return self._lines.started_groups(problem_id)

    # ---- the rollout loop's transitions ----

    async def turn_of(self, step: int) -> None:
        """Wait until the weights are published that the step's samples may be made with."""
        await self._lines.until(
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
        self._lines.plan(ticket)

    def start(self, requests: Iterable[RolloutRequest]) -> None:
        """Record that an engine is asked for these samples."""
        for request in requests:
            self._lines.move(request.ticket.sample_id, State.UNDER_WAY).request = request

    def lose(self, sample_id: str) -> None:
        """Record that a sample got no verdict, and so no reward: its fate is a fault."""
        self._lines.move(sample_id, Fate.FAULT)

    def refuse(self, sample_id: str, why: str) -> None:
        """Reject a sample that was planned and will not be made."""
        self._lines.move(sample_id, Fate.REJECTED, why=why)

    def drop_group(self, group: str, why: str) -> list[Ticket]:
        """Reject every open sample of a group that no step has taken; return their tickets.

        Those that an engine or the sandbox still has are not asked for any more.
        """
        return self._lines.drop_group(group, why)

    async def buffer(self, judged: JudgedSample) -> bool:
        """Wait for room, then keep a judged sample for a learner step; False if it is too stale.

        True also where its group was dropped meanwhile: nothing has to take its place.
        """
        sample_id = judged.sample_id
        self._lines.move(sample_id, State.JUDGED).judged = judged

        def has_room() -> bool:
            return self.buffered < self._capacity or self._is_stale(judged) or sample_id not in self

        if not has_room():
            await self._lines.until(has_room, f"room in the buffer for sample {sample_id}")
        if sample_id not in self:
            return True
        if self._is_stale(judged):
            self._lines.move(sample_id, Fate.REJECTED, why="stale")
            return False
        self._lines.move(sample_id, State.BUFFERED)
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

        chosen: list[JudgedSample] = []

        def there() -> bool:
            urgent = self.version + 1 - self._max_staleness
            chosen[:] = self._next.of(count, step, urgent) if self.buffered >= count else ()
            return len(chosen) == count

        await self._lines.until(there, f"the {count} samples of step {self.version + 1}")
        batch = sorted(chosen, key=lambda judged: judged.sample_id)
        for judged in batch:
            self._lines.move(judged.sample_id, State.IN_STEP)
        return batch

    async def ahead(self) -> list[JudgedSample]:
        """Wait until every sample is judged that an older version than the learner's has to make.

        In a strict lag of k these are the next k steps. Return them by id. They stay in the book.
        With them come those that were dropped of these steps.
        """
        until = self.version + self._max_staleness
        # a stop may have come when a step had taken its samples and not begun
        filled = range(self.version, min(until, self.planned_steps))
        return await self._saved.ahead(until, filled)

    def trained(
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
        for judged in batch:
            if judged.sample_id in untrained:
                self._lines.move(judged.sample_id, Fate.REJECTED, why=NON_FINITE)
            else:
                self._lines.move(judged.sample_id, Fate.TRAINED)
        self.version = version
        self._lines.changed.notify()
        dropped = [TrainedGroup(*outcome) for outcome in self.fills.trained(version)]
        return dropped + self._groups.completed_by(batch)

    def refuse_stale(self) -> list[RolloutRequest]:
        """Reject what is buffered and too old for the next step; return the requests for it."""
        stale = [judged for judged in self._lines.buffer() if self._is_stale(judged)]
        for judged in stale:
            self._lines.move(judged.sample_id, Fate.REJECTED, why="stale")
        return [judged.request for judged in stale]

    def publish(self, version: WeightVersion) -> None:
        """Record that the rollout actors now hold `version`."""
        if version > self.version:
            raise RunError(f"version {version} was published after learner step {self.version}")
        self.published = version
        self._lines.changed.notify()

    def cancel_open(self) -> None:
        """Cancel what has no fate yet, at the end of a run: it will not be trained."""
        for sample_id in self.open_ids:
            self._lines.move(sample_id, Fate.CANCELLED)

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
        return self._saved.frozen(self.version, self.planned_steps)

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Continue where `snapshot` was taken; call it before the loops start."""
        self.version = self.published = snapshot["version"]
        self.planned_steps = snapshot["planned_steps"]
        self._saved.restore(snapshot)

    def restore_judged(self, samples: Iterable[JudgedSample]) -> None:
        """Put samples of a checkpoint into the buffer; call it after `restore`.

        One that is not planned waits until it is.
        """
        self._saved.restore_judged(samples)

    def _is_stale(self, judged: JudgedSample) -> bool:
        return self.version - judged.trajectory.oldest_weights > self._max_staleness
