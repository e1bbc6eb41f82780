"""The rollout actors of a run behind one `Sampler`: routing, replacement, weights.

    LOST ──the rest is over──▶ STARTING ──process up──▶ AWAITING_WEIGHTS ◀──▶ REFRESHING
      ▲                                                   │       ▲
      │                       it holds a complete version │       │ it says that
      │                                                   ▼       │ it holds none
      └────────────── process or engine lost ───────────  READY ──┘

A share goes to the ready actor with the least to do. An actor that is lost, at work, idle or at
rest, fails its shares with `RunError` (the caller samples them again, elsewhere) and is replaced.
The new process has the starting checkpoint's weights, so once weights were pushed it gets no share
before a push has reached it: the run's next one, or one that the pool asks for (`refresh_with`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from actors.checkpoint_folder import CheckpointFolder
from actors.pool_slot import UP, WAKING, Place, Slot
from actors.rollout_actor import ActorStats, RolloutActor
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import (
    ArrivalError,
    AwaitsWeights,
    EngineLost,
    RunError,
    StepcoderError,
    last_line,
)
from stepcoder_dist.host import model_source
from stepcoder_dist.ports import Placement, anywhere
from stepcoder_dist.records import Completion, RolloutRequest

logger = logging.getLogger(__name__)

MAX_CALLS = 100_000
"""Calls that run in an actor at the same time. Ray's default for coroutines is 1,000, and every
group in flight holds one: a push could not enter, while the groups wait for its weights."""
_ATTEMPTS = 3
"""Starts of a replacement before its slot is given up."""

Refresh = Callable[[Sequence[Any]], Awaitable[object]]
"""Pushes the learner's current weights to the given targets."""


class ActorPool:
    """`ports.Sampler` over `config.actors.number` Ray actors. Use it on one event loop.

    Raises `ConfigError` at once for a checkpoint folder with too small a context.
    """

    def __init__(
        self, config: RunConfig, checkpoint: str | Path, *, placement: Placement = anywhere
    ) -> None:
        self._placement = placement
        source = model_source.find(checkpoint)
        if source.folder is not None:  # else a hub name: every actor's machine gets it itself
            folder = CheckpointFolder(source)
            folder.check_context(config.model.max_tokens)
            folder.check_tensor_parallel(config.actors.tensor_parallel)
        self._checkpoint = source.text
        self._config = config
        self._slots = [Slot(f"rollout-{i}") for i in range(config.actors.number)]
        self._weights_were_pushed = False
        self._refresh: Refresh | None = None
        self._changed = asyncio.Condition()
        self._resting = False
        """From `rest` to the next push: no engine may take GPU memory then."""

    def refresh_with(self, refresh: Refresh) -> None:
        """Have replaced actors brought to the current weights at once: `refresh([target])`.

        It has to queue behind a learner step that is running: the weights that it sends must be
        those of the last finished step.
        """
        self._refresh = refresh

    async def start(self) -> None:
        """Start every actor; raise `RunError` unless all are up within `start_timeout_s`."""
        for slot in self._slots:
            slot.keeper = asyncio.create_task(self._bring_up(slot, attempts=1))
        await asyncio.gather(*(slot.keeper for slot in self._slots if slot.keeper))
        failures = [slot.failure for slot in self._slots if slot.place is Place.FAILED]
        if failures:
            raise RunError("; ".join(failures))

    async def close(self) -> None:
        """End every actor's process."""
        for task in (task for slot in self._slots for task in (slot.watcher, slot.keeper)):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await asyncio.gather(*(self._end(slot) for slot in self._slots))

    @property
    def width(self) -> int:
        return len(self._slots)

    async def weight_targets(self) -> Sequence[Any]:
        """Handles of the actors whose process is up. Those that start are brought up to date later.

        Call it when the weights to push exist: a process that comes up after this call is
        refreshed by a push of its own, which must not be older.
        """
        async with self._changed:
            self._weights_were_pushed = True
            self._resting = False
            self._changed.notify_all()
            return [slot.handle for slot in self._up()]

    async def rest(self) -> None:
        """Have every engine release its memory. An actor that is lost is replaced afterwards.

        Raises `RunError` when one does not within `weights.deadline_s`.
        """
        self._resting = True
        async with self._changed:
            await self._changed.wait_for(
                lambda: all(slot.place not in WAKING for slot in self._slots)
            )
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
            if isinstance(answer, (RayActorError, EngineLost)):
                self._repair(slot, handle, answer)
            elif isinstance(answer, BaseException):
                raise RunError(f"{slot.name} did not come to rest: {answer}") from answer

    def _up(self) -> list[Slot]:
        """Return the slots whose process answers."""
        return [slot for slot in self._slots if slot.place in UP]

    async def stats(self) -> list[ActorStats]:
        """Return the statistics of the actors whose process answers."""
        answers = await asyncio.gather(
            *(slot.handle.stats.remote() for slot in self._up()), return_exceptions=True
        )
        return [answer for answer in answers if isinstance(answer, ActorStats)]

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[Completion]:
        """Sample the share on the least loaded ready actor; yield completions as they finish.

        Waits while no actor is ready. Raises `RunError` when the actor is lost on the way, holds
        no complete weights, or none becomes ready. Closing the iterator cancels what is left.
        """
        slot = await self._least_loaded()
        handle, left = slot.handle, len(share)
        slot.load += left
        stream = handle.sample.options(num_returns="streaming").remote(list(share))
        running = True
        try:
            async for reference in stream:
                completion: Completion = await reference
                left -= 1
                slot.load -= 1
                yield completion
            running = False
        except (RayError, StepcoderError) as error:
            running = False
            if isinstance(error, (RayActorError, EngineLost, AwaitsWeights)):
                self._repair(slot, handle, error)
            raise RunError(f"{slot.name} gave up {left} samples: {last_line(error)}") from error
        finally:
            slot.load -= left
            if running:
                ray.cancel(stream)

    async def _least_loaded(self) -> Slot:
        def ready() -> list[Slot]:
            return [slot for slot in self._slots if slot.place is Place.READY]

        def settled() -> bool:
            return bool(ready()) or all(slot.place is Place.FAILED for slot in self._slots)

        patience_s = self._config.actors.start_timeout_s + self._config.weights.deadline_s
        try:
            async with asyncio.timeout(patience_s), self._changed:
                await self._changed.wait_for(settled)
        except TimeoutError:
            states = ", ".join(f"{s.name} is {s.place.name.lower()}" for s in self._slots)
            raise RunError(
                f"no rollout actor became ready in {patience_s:.0f} s: {states}"
            ) from None
        if not ready():
            raise RunError("; ".join(slot.failure for slot in self._slots))
        return min(ready(), key=lambda slot: slot.load)

    def _repair(self, slot: Slot, handle: Any, error: Exception) -> None:
        """Take the actor out of the pool until it is repaired; the first who notices does it."""
        if slot.handle is not handle or slot.place is not Place.READY:
            return
        lost = not isinstance(error, AwaitsWeights)
        slot.place = Place.LOST if lost else Place.AWAITING_WEIGHTS
        state = "lost; starting it again" if lost else "out of date"
        logger.warning("%s is %s: %s", slot.name, state, last_line(error))
        if slot.watcher is not None:
            slot.watcher.cancel()
        slot.keeper = asyncio.create_task(self._bring_up(slot, attempts=_ATTEMPTS))

    async def _watch(self, slot: Slot, handle: Any) -> None:
        """Repair the slot when its process ends, also while nothing is asked of it."""
        try:
            await handle.until_the_end.remote()
        except RayError as error:
            self._repair(slot, handle, error)

    async def _bring_up(self, slot: Slot, *, attempts: int) -> None:
        """Start the actor's process if it has none, give it complete weights, let it work."""
        failure = ""
        for _ in range(attempts):
            try:
                if slot.place is Place.LOST:
                    async with self._changed:
                        await self._changed.wait_for(lambda: not self._resting)
                        slot.place = Place.STARTING
                    async with asyncio.timeout(self._config.actors.start_timeout_s):
                        await self._replace_process(slot)
                await self._wait_for_weights(slot)
            except TimeoutError:
                limit = self._config.actors.start_timeout_s
                failure = f"it was not up within actors.start_timeout_s = {limit}"
            except (RayError, StepcoderError, ValueError) as error:  # Ray: the name is taken
                failure = last_line(error)
            else:
                await self._settle(slot, Place.READY)
                slot.watcher = asyncio.create_task(self._watch(slot, slot.handle))
                return
            logger.warning("%s did not start: %s", slot.name, failure)
            await self._settle(slot, Place.LOST)
        slot.failure = f"{slot.name} did not start: {failure}"
        await self._settle(slot, Place.FAILED)

    async def _settle(self, slot: Slot, place: Place) -> None:
        async with self._changed:
            slot.place = place
            self._changed.notify_all()

    async def _replace_process(self, slot: Slot) -> None:
        await self._end(slot)
        actor_class = ray.remote(RolloutActor).options(
            name=slot.name,
            **self._config.actors.resources.reserved,
            **self._placement(self._slots.index(slot)),
            # The pool replaces processes itself: it must know when the weights are gone.
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=MAX_CALLS,
        )
        awaits_weights = self._weights_were_pushed
        slot.handle = actor_class.remote(
            slot.name, self._checkpoint, self._config, awaits_weights=awaits_weights
        )
        await slot.handle.stats.remote()
        if self._weights_were_pushed and not awaits_weights:
            raise RunError("the run's first push began while it started")

    async def _wait_for_weights(self, slot: Slot) -> None:
        # from here on a push of the run includes it; at rest only that may wake it
        await self._settle(slot, Place.AWAITING_WEIGHTS)
        if self._weights_were_pushed and self._refresh is not None and not self._resting:
            slot.place = Place.REFRESHING
            try:
                await self._refresh([slot.handle])
            except ArrivalError:
                raise  # a complete version, of something else: a new process, not a new push
            except (RayError, StepcoderError) as error:
                logger.warning("%s waits for the next push: %s", slot.name, last_line(error))
            finally:
                await self._settle(slot, Place.AWAITING_WEIGHTS)
        await slot.handle.wait_until_complete.remote()

    async def _end(self, slot: Slot) -> None:
        """End the slot's process, and wait until Ray has released its name."""
        if slot.handle is None:
            return
        if slot.place in UP:
            with contextlib.suppress(RayError, StepcoderError, TimeoutError):
                async with asyncio.timeout(self._config.weights.deadline_s):
                    await slot.handle.close.remote()
        ray.kill(slot.handle)
        # A call to a dead actor is answered when Ray has registered its death.
        with contextlib.suppress(RayError):
            await slot.handle.stats.remote()
        slot.handle = None
