"""What the benchmarks' stand-ins for the learner share: real deliveries, checkpoints of nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from learner.push.delivery import Deliveries
from stepcoder_dist.errors import RunError
from stepcoder_dist.ports import TakenUpdate, WeightSnapshot
from stepcoder_dist.records import WeightVersion


class StandinLearner(ABC):
    """`ports.Learner` but for its steps and its snapshot."""

    can_snapshot = True

    def __init__(self) -> None:
        self._deliveries = Deliveries()

    @abstractmethod
    async def snapshot(self) -> WeightSnapshot:
        """Return the current weights, or what stands for them."""

    async def deliver(
        self, snapshot: WeightSnapshot, targets: Sequence[Any], *, deadline_s: float
    ) -> None:
        await self._deliveries.deliver(snapshot, targets, None, deadline_s)

    def hear_of_updates(self, hear: Callable[[TakenUpdate, WeightVersion], None]) -> None:
        self._deliveries.hear = hear

    async def publish(self, targets: Sequence[Any], *, deadline_s: float) -> WeightVersion:
        snapshot = await self.snapshot()
        await self.deliver(snapshot, targets, deadline_s=deadline_s)
        return snapshot.version

    async def begin_save(self, folder: str) -> Coroutine[Any, Any, None]:
        async def write() -> None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / "stand-in").touch()

        return write()

    async def load(self, folder: str) -> WeightVersion:
        raise RunError(f"{folder}: a stand-in for the learner keeps nothing to resume from")

    async def save_hf(self, folder: str) -> None:
        raise RunError(f"{folder}: a stand-in for the learner has no weights to write")
