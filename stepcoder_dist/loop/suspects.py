"""Problems whose samples may break an engine: who did it is found out by sampling them in turns.

    lost with an engine ──▶ 1 ──▶ 2: suspected ── in turn ──▶ 3 ── in turn ──▶ 4: quarantined
                            │          │                      │
                            └──────────┴── a completion ──────┴──▶ 0

An engine that is lost takes the samples of many problems with it, and one of them may be the cause.
After two losses in a row the problems of all are suspected. Suspects are sampled one at a time over
the entire run, when what was sampled of suspects before has ended, so that from then on only the
cause is lost again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence

from stepcoder_dist.errors import RunError, ShareLost
from stepcoder_dist.host.fault_streak import FaultStreak
from stepcoder_dist.loop.lost_samples import LostSamples
from stepcoder_dist.loop.sampling import MAX_ENGINES_FOR_A_SHARE
from stepcoder_dist.ports import Sampler
from stepcoder_dist.records import Completion, RolloutRequest

logger = logging.getLogger(__name__)

SUSPECTED_AFTER = 2
"""Engines in a row that are lost with samples of one problem."""
QUARANTINED_AFTER = 4
"""The same, the last ones while no other suspected problem was sampled."""
MAX_QUARANTINED_IN_A_ROW = 3
"""Problems without a completion of any other between them: it is not the problems."""


class Suspects:
    """Samples shares to their end, and sets problems aside that break engines."""

    def __init__(self, sampler: Sampler, lost: LostSamples) -> None:
        """`lost` has the problems that are quarantined."""
        self._sampler = sampler
        self._lost = lost
        self._losses: Counter[str] = Counter()
        """Engines in a row that were lost with samples of a problem."""
        self._turn = asyncio.Lock()
        """Of the problem that is sampled in turn."""
        self._together: Counter[str] = Counter()
        """Shares of a problem that are sampled without a turn."""
        self._ended = asyncio.Condition()
        """Notified when one of these ends."""
        self._in_a_row = 0
        """Problems quarantined here since the last completion of any."""

    async def sample(
        self, share: Sequence[RolloutRequest]
    ) -> AsyncIterator[Completion | RolloutRequest]:
        """Yield one completion for each request, or the request where its problem is quarantined.

        A second completion is dropped.

        Requests that a lost engine had not finished go to another one. Raises `RunError` when
        samplers fail in a row whatever they are asked, or leave requests out.
        """
        waiting = {request.ticket.sample_id: request for request in share}
        failed = FaultStreak(MAX_ENGINES_FOR_A_SHARE, _failed)
        while waiting:
            together = [r for r in waiting.values() if not self._suspected(r.ticket.problem_id)]
            if together:
                async for completion in self._tried_together(together, failed):
                    del waiting[completion.sample_id]
                    yield completion
                continue
            problem_id = next(iter(waiting.values())).ticket.problem_id
            alone = [r for r in waiting.values() if r.ticket.problem_id == problem_id]
            async with self._turn:
                async with self._ended:
                    await self._ended.wait_for(self._alone)
                if problem_id not in self._lost.quarantined:
                    async for completion in self._tried(alone, failed, QUARANTINED_AFTER):
                        del waiting[completion.sample_id]
                        yield completion
            if problem_id in self._lost.quarantined:
                for request in alone:
                    if waiting.pop(request.ticket.sample_id, None):
                        yield request

    def _suspected(self, problem_id: str) -> bool:
        return self._losses[problem_id] >= SUSPECTED_AFTER or problem_id in self._lost.quarantined

    def _alone(self) -> bool:
        """Return whether nothing is sampled of a suspected problem without a turn."""
        return not any(n and self._suspected(problem) for problem, n in self._together.items())

    async def _tried_together(
        self, share: Sequence[RolloutRequest], failed: FaultStreak
    ) -> AsyncIterator[Completion]:
        problems = {request.ticket.problem_id for request in share}
        self._together.update(problems)
        try:
            async for completion in self._tried(share, failed, SUSPECTED_AFTER):
                yield completion
        finally:
            self._together.subtract(problems)
            async with self._ended:
                self._ended.notify_all()

    async def _tried(
        self, share: Sequence[RolloutRequest], failed: FaultStreak, most: int
    ) -> AsyncIterator[Completion]:
        """Yield what one engine completes of the share; count it when it is lost with the rest.

        `most`: to how many losses in a row it can bring a problem.
        """
        waiting = {request.ticket.sample_id: request.ticket.problem_id for request in share}
        try:
            async for completion in self._sampler.sample(share):
                problem_id = waiting.pop(completion.sample_id, None)
                if problem_id is None:
                    # an engine that was given up may answer what another one was asked since
                    logger.warning("%s was answered twice: one reply counts", completion.sample_id)
                    continue
                failed.success()
                self._losses.pop(problem_id, None)
                self._in_a_row = 0
                yield completion
        except ShareLost as error:
            for problem_id in dict.fromkeys(waiting.values()):
                self._add(problem_id, error, most)
        except RunError as error:
            failed.fault(error)
        else:
            if waiting:
                raise RunError(f"a sampler left out {len(waiting)} of {len(share)} requests")

    def _add(self, problem_id: str, error: ShareLost, most: int) -> None:
        """Count an engine that was lost with samples of the problem; quarantine the problem."""
        # one engine may have had several shares of it
        before = self._losses[problem_id]
        self._losses[problem_id] = losses = max(before, min(before + 1, most))
        if losses < QUARANTINED_AFTER or problem_id in self._lost.quarantined:
            return
        self._in_a_row += 1
        if self._in_a_row == MAX_QUARANTINED_IN_A_ROW or not self._lost.set_aside(problem_id):
            raise RunError(
                f"{losses} engines in a row were lost with samples of problem {problem_id}, and "
                f"others with those of other problems; the last with: {error}"
            ) from error
        logger.warning(
            "problem %s is quarantined: %d engines in a row were lost with its samples; another "
            "takes its place until the run is resumed. The last fault: %s",
            problem_id,
            losses,
            error,
        )


def _failed(failures: int, last: Exception) -> RunError:
    return RunError(f"the rollout actors failed {failures} times in a row, the last with: {last}")
