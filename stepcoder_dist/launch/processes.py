"""The processes that commands need. They are closed whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from stepcoder_dist.config import Backend, RunConfig, SandboxConfig
from stepcoder_dist.host.console import open_console
from stepcoder_dist.launch.cluster import node_models, placement
from stepcoder_dist.launch.cluster.last_words import last_words
from stepcoder_dist.run.session import Pools

if TYPE_CHECKING:
    from learner.learner_group import LearnerGroup
    from sandbox.pool.executor_pool import ExecutorPool

console = open_console()


@asynccontextmanager
async def open_sandbox(config: RunConfig) -> AsyncIterator[ExecutorPool]:
    """Start the executors, have them look at their nodes, and print which backend judges.

    Open it first: it is quick, and raises `MissingEngine` for a node that cannot judge. The
    executors have no containers until the pool is started. They are closed at the end.
    """
    from sandbox.pool.executor_pool import ExecutorPool
    from sandbox.process_pool import WARNING

    sandbox = ExecutorPool(config, last_words=last_words)
    try:
        backend = await sandbox.choose()
        if backend == "process":
            console.print(f"warning: {WARNING}", style="bold red")
        else:
            console.print(f"sandbox: {_judged_in(config.sandbox, backend)}", highlight=False)
        yield sandbox
    finally:
        await sandbox.close()


def _judged_in(sandbox: SandboxConfig, backend: Backend) -> str:
    if backend == "bubblewrap":
        root = "this machine's Python" if sandbox.root is None else sandbox.root
        return f"bubblewrap, with {root}"
    if backend == "attached":
        return f"guests at {sandbox.sockets}"
    return f"Docker containers of {sandbox.image}"


@asynccontextmanager
async def open_pools(
    config: RunConfig, checkpoint: str, sandbox: ExecutorPool
) -> AsyncIterator[Pools]:
    """Start the rollout actors and the executors' containers together; close the actors at the end.

    `sandbox` comes from `open_sandbox`, which closes it. Raises `ConfigError` for nodes of the run
    that lack the checkpoint, those of the learner too.
    """
    from actors.actor_pool import ActorPool

    await node_models.check(config, checkpoint)
    sampler = ActorPool(
        config,
        checkpoint,
        placement=partial(placement.of_rollout, config),
        last_words=last_words,
    )
    try:
        await asyncio.gather(sandbox.start(), sampler.start())
        yield Pools(sampler, sandbox, rollouts=sampler, executors=sandbox)
    finally:
        await sampler.close()


@asynccontextmanager
async def open_learner(
    config: RunConfig, checkpoint: str, probe_token_ids: Sequence[int] = ()
) -> AsyncIterator[LearnerGroup]:
    """Start the learner's ranks; close them whatever happens. `LearnerGroup` has the arguments."""
    from learner.learner_group import LearnerGroup

    await node_models.check(config, checkpoint)  # a learner that starts again may have other nodes
    learner = LearnerGroup(
        config,
        checkpoint,
        probe_token_ids,
        placement=partial(placement.of_rank, config),
        last_words=last_words,
    )
    try:
        await learner.start()
        yield learner
    finally:
        await learner.close()
