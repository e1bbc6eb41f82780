"""Between the two loops: a bounded buffer that admits by staleness, and the ledger of samples.

Every sample id that was ever planned ends in exactly one fate; `Ledger.open_ids` shows those
that are still on their way.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from stepcoder_dist.errors import RunError
from stepcoder_dist.records import Fate, Trajectory, WeightVersion


class Ledger:
    """The account of every sample id: planned once, settled once."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self.counts: Counter[Fate] = Counter()

    @property
    def open_ids(self) -> frozenset[str]:
        return frozenset(self._open)

    def plan(self, sample_id: str) -> None:
        """Raises `RunError` for an id that is already on its way."""
        if sample_id in self._open:
            raise RunError(f"sample {sample_id} was planned twice")
        self._open.add(sample_id)

    def settle(self, sample_id: str, fate: Fate) -> None:
        """Raises `RunError` for an id that was never planned or is settled already."""
        if sample_id not in self._open:
            raise RunError(f"sample {sample_id} was settled as {fate}, but it is not open")
        self._open.remove(sample_id)
        self.counts[fate] += 1

    def cancel_open(self) -> None:
        """At the end of a run: what is still on its way will not be trained."""
        for sample_id in self.open_ids:
            self.settle(sample_id, Fate.CANCELLED)


class TrajectoryBuffer:
    """Holds judged samples until a learner step takes them. One event loop only."""

    def __init__(self, *, capacity: int, max_staleness: int, ledger: Ledger) -> None:
        if capacity < 1:
            raise ValueError(f"capacity = {capacity}; a buffer holds at least one trajectory")
        self._capacity = capacity
        self._max_staleness = max_staleness
        self._ledger = ledger
        self._held: list[Trajectory] = []
        self._changed = asyncio.Condition()
        self._version: WeightVersion = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def version(self) -> WeightVersion:
        """The version that the next step trains: what staleness is measured against."""
        return self._version

    async def put(self, trajectory: Trajectory) -> bool:
        """Wait for room, then admit; False: refused as stale, and settled in the ledger."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: len(self._held) < self._capacity or self._stale(trajectory)
            )
            if self._stale(trajectory):
                self._ledger.settle(trajectory.ticket.sample_id, Fate.REJECTED)
                return False
            self._held.append(trajectory)
            self._changed.notify_all()
            return True

    async def take(self, count: int) -> list[Trajectory]:
        """Wait for `count` trajectories and return the oldest plans first, in ticket order.

        Raises `ValueError` when more are asked for than the buffer can ever hold.
        """
        if count > self._capacity:
            raise ValueError(f"count = {count} exceeds the buffer's capacity of {self._capacity}")
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._held) >= count)
            self._held.sort(key=lambda t: t.ticket.sample_id)
            taken, self._held = self._held[:count], self._held[count:]
            self._changed.notify_all()
        for trajectory in taken:
            self._ledger.settle(trajectory.ticket.sample_id, Fate.TRAINED)
        return taken

    async def advance(self, version: WeightVersion) -> list[Trajectory]:
        """A new version is about to be trained on; return those held that are now too stale."""
        async with self._changed:
            self._version = version
            stale = [t for t in self._held if self._stale(t)]
            self._held = [t for t in self._held if not self._stale(t)]
            self._changed.notify_all()
        for trajectory in stale:
            self._ledger.settle(trajectory.ticket.sample_id, Fate.REJECTED)
        return stale

    def _stale(self, trajectory: Trajectory) -> bool:
        return self._version - trajectory.oldest_weights > self._max_staleness


class VersionGate:
    """Lets the rollout loop wait for the weights that a step may be sampled with."""

    def __init__(self, version: WeightVersion = 0) -> None:
        self._version = version
        self._moved = asyncio.Condition()

    async def open(self, version: WeightVersion) -> None:
        async with self._moved:
            self._version = version
            self._moved.notify_all()

    async def wait_for(self, version: WeightVersion) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self._version >= version)
