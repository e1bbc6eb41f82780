"""The same engines and executors as in `simulated_parts.py`, each a Ray actor without a CPU.

What Ray costs the driver, and the machine, is then in the figures: a process for each actor, an
item of a stream for each completion, a call for each program.
"""

from __future__ import annotations

from typing import Any

import ray
from simulated_parts import Engine, Executor, Load

from actors.actor_pool import ActorPool
from actors.pool.pool_slot import Slot
from actors.pool.slot_keeper import MAX_CALLS, SlotKeeper
from sandbox.pool.executor_handle import ExecutorHandle
from sandbox.pool.executor_pool import ExecutorPool
from stepcoder_dist.config import RunConfig


def _actor(kind: type, name: str, load: Load) -> Any:
    made = ray.remote(kind).options(name=name, num_cpus=0, max_concurrency=MAX_CALLS)
    return made.remote(name, load)


def rollout_pool(config: RunConfig, load: Load) -> ActorPool:
    """Return the real pool, whose engines wait in processes of their own."""

    class Keeper(SlotKeeper):
        async def _replace_process(self, slot: Slot) -> None:
            slot.handle = _actor(Engine, slot.name, load)
            await slot.handle.stats.remote()

    return ActorPool(config, "a-model/of-the-hub", keeper=Keeper)


def executor_pool(config: RunConfig, load: Load) -> ExecutorPool:
    """Return the real pool, whose executors wait in processes of their own."""

    class Handle(ExecutorHandle):
        def _process(self) -> Any:
            self.actor = self.actor or _actor(Executor, self.name, load)
            return self.actor

    class Pool(ExecutorPool):
        def _handle(self, name: str) -> ExecutorHandle:
            return Handle(name, self._config, self._lost)

    return Pool(config)
