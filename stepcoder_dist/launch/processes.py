"""The processes that commands need, opened and closed whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from stepcoder_dist.config import RunConfig
from stepcoder_dist.host.console import open_console
from stepcoder_dist.launch import placement
from stepcoder_dist.run.session import Pools

if TYPE_CHECKING:
    from learner.learner_group import LearnerGroup


console = open_console()


@asynccontextmanager
async def open_pools(config: RunConfig, checkpoint: str) -> AsyncIterator[Pools]:
    """Start the rollout and sandbox pools together; close both whatever happens."""
    from actors.actor_pool import ActorPool
    from sandbox.executor_pool import ExecutorPool

    async with AsyncExitStack() as stack:
        executor = ExecutorPool(config)
        stack.push_async_callback(executor.close)
        sampler = ActorPool(config, checkpoint, placement=partial(placement.of_rollout, config))
        stack.push_async_callback(sampler.close)
        await asyncio.gather(executor.start(), sampler.start())
        yield Pools(sampler, executor)


@asynccontextmanager
async def open_learner(
    config: RunConfig, checkpoint: str, probe_token_ids: Sequence[int] = ()
) -> AsyncIterator[LearnerGroup]:
    """Start the learner's ranks; close them whatever happens. `LearnerGroup` has the arguments."""
    from learner.learner_group import LearnerGroup

    learner = LearnerGroup(
        config, checkpoint, probe_token_ids, placement=partial(placement.of_rank, config)
    )
    try:
        await learner.start()
        yield learner
    finally:
        await learner.close()


def check_sandbox(config: RunConfig) -> None:
    """Say which backend judges. Raises `MissingEngine` before anything is started."""
    from sandbox.backend import choose
    from sandbox.process_executor import WARNING

    if choose(config.sandbox) == "process":
        console.print(f"warning: {WARNING}", style="bold red")
    else:
        console.print(f"sandbox: Docker containers of {config.sandbox.image}", highlight=False)
