"""More groups in flight on one engine than Ray's default number of calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

pytest.importorskip("ray")

import ray

from actors.pool.slot_keeper import MAX_CALLS
from actors.rollout_actor import RolloutActor

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
GROUPS = 1_100


def test_a_push_enters_an_engine_that_has_more_than_a_thousand_groups() -> None:
    class Waiting(RolloutActor):
        """A rollout actor whose engine never finishes a sample."""

        def __init__(self) -> None:
            self.begun = 0
            self.all_there = asyncio.Event()

        async def sample(self, share: object) -> AsyncIterator[object]:
            self.begun += 1
            if self.begun == GROUPS:
                self.all_there.set()
            await asyncio.Event().wait()
            yield share

        async def all_begun(self) -> int:
            await self.all_there.wait()
            return self.begun

        async def start_update(self, version: int) -> None:
            """A push knocks."""

    actor = ray.remote(Waiting).options(num_cpus=0, max_concurrency=MAX_CALLS).remote()
    streams = [actor.sample.options(num_returns="streaming").remote(i) for i in range(GROUPS)]
    assert ray.get(actor.all_begun.remote(), timeout=120) == GROUPS
    ray.get(actor.start_update.remote(1), timeout=30)
    del streams
    ray.kill(actor)
