"""How the weights of a step reach the rollout actors: in the way of the loops, or beside them.

* Without staleness, and where the learner can take no snapshot (NCCL, a shared GPU): the training
  loop pushes what the learner holds, and continues when every actor has it.
* With staleness: the training loop takes a snapshot of the learner's weights and continues. `run`
  delivers it meanwhile, one delivery at a time; where the learner is ahead of the deliveries, the
  newest snapshot is next and older ones are skipped.
* In a strict lag (`deterministic`) the rollout loop asks for each version when it needs it
  (`bring`), and none is skipped that it asks for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import RunError
from stepcoder_dist.loop.patience import Changes
from stepcoder_dist.loop.sample_book import SampleBook
from stepcoder_dist.ports import Learner, Sampler
from stepcoder_dist.records import WeightSnapshot, WeightVersion


class WeightDelivery:
    """Brings versions to the actors, and records in the book which one they hold."""

    def __init__(
        self, config: RunConfig, learner: Learner, sampler: Sampler, book: SampleBook
    ) -> None:
        self._learner = learner
        self._sampler = sampler
        self._book = book
        self._deadline_s = config.weights.deadline_s
        self._steps = config.train.steps
        self._lags = config.lags
        self.beside = config.train.max_staleness > 0 and learner.can_snapshot
        """True: the learner continues while its weights are on their way. False: `hand_over`
        returns when every actor has them."""
        self._changed = Changes()
        self._waiting: dict[WeightVersion, WeightSnapshot] = {}
        """Snapshots that no delivery has begun with."""
        self._current: WeightSnapshot | None = None
        """The snapshot that the actors hold, or are about to: a replaced actor gets it."""
        self._turn = asyncio.Lock()
        """One delivery at a time: a replaced actor must not get an older version than the rest."""
        self.seconds = 0.0
        """Of the last delivery to all actors."""

    async def first(self) -> None:
        """Bring the learner's weights to every actor, before the loops start.

        Also at version 0: the push checks that both sides read the same checkpoint.
        """
        if self.beside:
            await self._take_snapshot(self._book.version)
            await self._deliver(self._book.version)
        else:
            await self._push(await self._sampler.weight_targets())

    async def refresh(self, targets: Sequence[Any]) -> None:
        """Bring new actors to the version of the others."""
        if not self.beside:
            await self._push(targets)
            return
        async with self._turn:
            if self._current is None:
                raise RunError("new actors ask for weights before the run's first push")
            await self._learner.deliver(self._current, targets, deadline_s=self._deadline_s)

    async def hand_over(self, version: WeightVersion) -> None:
        """Push the version that a step made, or have it delivered beside the loops."""
        if self.beside:
            await self._take_snapshot(version)
            return
        begun = time.monotonic()
        pushed = await self._push(await self._sampler.weight_targets())
        self.seconds = time.monotonic() - begun
        if pushed != version:
            raise RunError(f"the learner published version {pushed} after step {version}")

    async def run(self) -> None:
        """Deliver what is handed over until the run's last version is with the actors."""
        while self._book.published < self._steps:
            await self._until(lambda: self._waiting, "the weights of the next step")
            await self._deliver()

    async def bring(self, version: WeightVersion) -> None:
        """Wait for the step that makes the version, then bring exactly that one to the actors."""
        if self._book.published == version:
            return
        await self._until(
            lambda: version in self._waiting, f"the weights that step {version} makes"
        )
        await self._deliver(version)

    async def arrived(self, version: WeightVersion) -> None:
        """Wait until every actor holds the version, or a newer one."""
        await self._until(
            lambda: self._book.published >= version,
            f"version {version} to arrive at the rollout actors",
        )

    async def _until(self, there: Callable[[], object], what: str) -> None:
        await self._book.patience.until(self._changed, there, lambda: what)

    async def _take_snapshot(self, version: WeightVersion) -> None:
        snapshot = await self._learner.snapshot()
        if snapshot.version != version:
            raise RunError(f"the learner took a snapshot of {snapshot.version} after {version}")
        if not self._lags:
            self._waiting.clear()  # each is a complete model in memory
        self._waiting[version] = snapshot
        self._changed.notify()

    async def _deliver(self, version: WeightVersion | None = None) -> None:
        """Bring the version to every actor; by default the newest that waits at its turn."""
        async with self._turn:
            begun = time.monotonic()
            version = max(self._waiting) if version is None else version
            self._current = snapshot = self._waiting.pop(version)
            self._waiting = {v: each for v, each in self._waiting.items() if v > version}
            # an actor that comes up after this call asks for a refresh: with this version
            targets = await self._sampler.weight_targets()
            await self._learner.deliver(snapshot, targets, deadline_s=self._deadline_s)
            self.seconds = time.monotonic() - begun
        self._book.publish(version)
        self._changed.notify()

    async def _push(self, targets: Sequence[Any]) -> WeightVersion:
        return await self._learner.publish(targets, deadline_s=self._deadline_s)
