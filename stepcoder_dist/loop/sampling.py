"""Samples a share of requests to its end, whatever happens to the engines that sample it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from stepcoder_dist.errors import RunError
from stepcoder_dist.host.fault_streak import FaultStreak
from stepcoder_dist.ports import Sampler
from stepcoder_dist.records import Completion, RolloutRequest

logger = logging.getLogger(__name__)

MAX_ENGINES_FOR_A_SHARE = 3
"""A share that loses this many engines in a row will not recover by itself."""


async def roll_out(
    sampler: Sampler,
    share: Sequence[RolloutRequest],
    finish: Callable[[Completion], Coroutine[Any, Any, None]],
) -> None:
    """Sample a share; start `finish` on each completion at once, and wait until all have ended.

    Raises an `ExceptionGroup` of what `sample_whole` and `finish` raise.
    """
    async with asyncio.TaskGroup() as finishing:
        async for completion in sample_whole(sampler, share):
            finishing.create_task(finish(completion))


async def sample_whole(
    sampler: Sampler, share: Sequence[RolloutRequest]
) -> AsyncIterator[Completion]:
    """Yield one completion for each request, as it finishes; a second one is dropped.

    Requests that a lost engine had not finished go to another one. Raises `RunError` when engines
    are lost in a row without a completion between them, or when a sampler leaves requests out.
    """
    waiting = {request.ticket.sample_id: request for request in share}
    lost = FaultStreak(
        MAX_ENGINES_FOR_A_SHARE,
        lambda n, last: RunError(
            f"{n} engines in a row were lost on the same "
            f"{len(waiting)} samples, the last with: {last}"
        ),
    )
    while waiting:
        try:
            async for completion in sampler.sample(list(waiting.values())):
                if waiting.pop(completion.sample_id, None) is None:
                    # an engine that was given up may answer what another one was asked since
                    logger.warning("%s was answered twice: one reply counts", completion.sample_id)
                    continue
                lost.success()
                yield completion
        except RunError as error:
            lost.fault(error)
        else:
            if waiting:
                raise RunError(f"a sampler left out {len(waiting)} of {len(share)} requests")
