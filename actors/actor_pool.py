"""The rollout actors of a run behind one `Sampler`: which of them samples what.

A share goes to a ready actor with room (`admission.py`). An actor that is lost, at work, idle or at
rest, fails its shares with `RunError` (the caller samples them again, elsewhere) and is replaced:
`slot_keeper.py` has the states of an actor, and when it may work again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from actors.checkpoint_folder import CheckpointFolder
from actors.pool.admission import Admission, capped
from actors.pool.pool_resize import resize
from actors.pool.pool_slot import UP, WAKING, Slot
from actors.pool.slot_keeper import ATTEMPTS, Refresh, SlotKeeper
from actors.rollout_actor import ActorStats
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import (
    AwaitsWeights,
    EngineLost,
    RunError,
    ShareLost,
    StepcoderError,
    last_line,
)
from stepcoder_dist.host import model_source
from stepcoder_dist.host.answering import drop
from stepcoder_dist.pool_status import Member, PoolStatus
from stepcoder_dist.ports import LastWords, Placement, anywhere, unheard
from stepcoder_dist.records import Completion, RolloutRequest

ANSWER_TIMEOUT_S = 5.0
"""Seconds after which an actor that is asked for its statistics counts as silent."""


class ActorPool:
    """`ports.Sampler` over `config.actors.number` Ray actors. Use it on one event loop.

    Raises `ConfigError` at once for a checkpoint folder with too small a context.
    """

    def __init__(
        self,
        config: RunConfig,
        checkpoint: str | Path,
        *,
        placement: Placement = anywhere,
        last_words: LastWords = unheard,
        keeper: type[SlotKeeper] = SlotKeeper,
    ) -> None:
        """`keeper` starts and ends the processes; tests give one that needs none."""
        source = model_source.find(checkpoint)
        if source.folder is not None:  # else a hub name: every actor's machine gets it itself
            folder = CheckpointFolder(source)
            folder.check_context(config.model.max_tokens)
            folder.check_tensor_parallel(config.actors.tensor_parallel)
        self._config = config
        self._wanted = config.actors.number
        self._slots = [Slot(f"rollout-{i}", i) for i in range(config.actors.number)]
        self._keeper = keeper(config, source.text, placement, last_words)
        self._admission = Admission(
            lambda: self._slots,
            capped(config),
            patience_s=config.actors.start_timeout_s + config.weights.deadline_s,
        )
        self._keeper.settled = self._admission.dispatch

    def refresh_with(self, refresh: Refresh) -> None:
        """Have replaced actors brought to the current weights at once: `refresh([target])`.

        It has to bring the version that the other actors hold, or that they are about to get.
        """
        self._keeper.refresh = refresh

    async def start(self) -> None:
        """Start every actor; raise `RunError` unless all are up within `start_timeout_s`."""
        await self._keeper.bring_up_all(self._slots)

    async def close(self) -> None:
        """End every actor's process."""
        await self._keeper.end_all(self._slots)

    @property
    def width(self) -> int:
        return sum(slot.joined and not slot.leaving for slot in self._slots)

    @property
    def number(self) -> int:
        return self.width

    async def resize(self, number: int) -> None:
        """See `ElasticPool.resize`. An actor that comes counts in `width` once it works.

        One that goes takes no more shares. It has `actors.leave_timeout_s` for those that it has.
        """
        if number < 1:
            raise ValueError(f"{number} rollout actors; a pool has at least one")
        self._wanted = number
        try:
            await resize(self._slots, self._keeper, number, self._config.actors.leave_timeout_s)
        except RunError:
            if self._wanted == number:  # no later call has said otherwise
                self._wanted = sum(not slot.leaving for slot in self._slots)
            raise

    async def status(self) -> PoolStatus:
        """Return how the pool is now; an actor that does not answer at once has no version."""
        answers = {each.name: each for each in await self.stats()}
        return PoolStatus(
            wanted=self._wanted,
            members=tuple(
                Member(
                    name=slot.name,
                    state="leaving" if slot.leaving else slot.place.words,
                    load=slot.load,
                    version=answers[slot.name].version if slot.name in answers else None,
                    now=answers[slot.name].now if slot.name in answers else "",
                )
                for slot in self._slots
            ),
            waiting=self._admission.waiting,
        )

    async def weight_targets(self) -> Sequence[Any]:
        """Return the handles of the actors whose process is up.

        Those that start are brought up to date later.

        Call it when the weights to push exist: a process that comes up after this call is
        refreshed by a push of its own, which must not be older.
        """
        async with self._keeper.changed:
            self._keeper.weights_were_pushed = True
            self._keeper.resting = False
            self._keeper.changed.notify_all()
            return [slot.handle for slot in self._up() if not slot.leaving]

    async def rest(self) -> None:
        """Have every engine release its memory. An actor that is lost is replaced afterwards.

        Raises `RunError` when one does not within `weights.deadline_s`.
        """
        self._keeper.resting = True
        await self._all_awake()
        up = [(slot, slot.handle) for slot in self._up()]
        deadline_s = self._config.weights.deadline_s
        try:
            async with asyncio.timeout(deadline_s):
                answers = await asyncio.gather(
                    *(handle.rest.remote() for _, handle in up), return_exceptions=True
                )
        except TimeoutError:
            raise RunError(
                f"the rollout actors did not come to rest within weights.deadline_s = {deadline_s}"
            ) from None
        for (slot, handle), answer in zip(up, answers, strict=True):
            if isinstance(answer, (RayActorError, OutOfMemoryError, EngineLost)):
                self._keeper.repair(slot, handle, answer)
            elif isinstance(answer, BaseException):
                raise RunError(f"{slot.name} did not come to rest: {answer}") from answer

    async def _all_awake(self) -> None:
        """Wait for the actors that take memory now: they start, or get weights.

        Raises `RunError`, which names them, after all the time that they may take.
        """
        config = self._config
        limit_s = ATTEMPTS * (config.actors.start_timeout_s + config.weights.deadline_s)
        try:
            async with asyncio.timeout(limit_s), self._keeper.changed:
                await self._keeper.changed.wait_for(
                    lambda: all(slot.place not in WAKING for slot in self._slots)
                )
        except TimeoutError:
            waking = (f"{s.name} is {s.place.words}" for s in self._slots if s.place in WAKING)
            raise RunError(
                f"rollout actors that were to rest were not up within {limit_s:g} s: "
                f"{', '.join(waking)}"
            ) from None

    def _up(self) -> list[Slot]:
        """Return the slots whose process answers."""
        return [slot for slot in self._slots if slot.place in UP]

    async def stats(self) -> list[ActorStats]:
        """Return the statistics of the actors that answer within `ANSWER_TIMEOUT_S`."""
        asked = [asyncio.ensure_future(slot.handle.stats.remote()) for slot in self._up()]
        try:
            answered = (await asyncio.wait(asked, timeout=ANSWER_TIMEOUT_S))[0] if asked else set()
            return [call.result() for call in asked if call in answered and not call.exception()]
        finally:  # also where the caller goes away meanwhile
            for call in asked:
                drop(call)

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[Completion]:
        """Sample the share on a ready actor with room; yield completions as they finish.

        Waits while no actor is ready, or none has room. Raises `ShareLost` when the actor is lost
        on the way or refuses a request, `RunError` when it holds no complete weights or none
        becomes ready. Closing the iterator cancels what is left.
        """
        if not share:
            return
        slot = await self._admission.place(share)
        handle, left = slot.handle, len(share)
        stream = handle.sample.options(num_returns="streaming").remote(list(share))
        running = True
        try:
            async for reference in stream:
                together: list[Completion] = await reference
                left -= len(together)
                self._admission.release(slot, len(together))
                for completion in together:
                    yield completion
            running = False
        except (RayError, StepcoderError) as error:
            running = False
            if isinstance(error, (RayActorError, OutOfMemoryError, EngineLost, AwaitsWeights)):
                self._keeper.repair(slot, handle, error)
            what = RunError if isinstance(error, AwaitsWeights) else ShareLost
            raise what(f"{slot.name} gave up {left} samples: {last_line(error)}") from error
        finally:
            self._admission.release(slot, left)
            if running:
                ray.cancel(stream)
