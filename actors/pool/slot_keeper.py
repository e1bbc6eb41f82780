"""The life of the pool's slots: a process is started, watched, replaced and ended here.

    LOST ──the rest is over──▶ STARTING ──process up──▶ AWAITING_WEIGHTS ◀──▶ REFRESHING
      ▲                                                   │       ▲
      │                       it holds a complete version │       │ it says that
      │                                                   ▼       │ it holds none
      └────────────── process or engine lost ───────────  READY ──┘

A new process has the starting checkpoint's weights, so once weights were pushed it gets no share
before a push has reached it: the run's next one, or one that the keeper asks for (`refresh`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, ClassVar

import ray
from ray.exceptions import RayError

from actors.pool.pool_slot import UP, Place, Slot
from actors.rollout_actor import RolloutActor
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import (
    ArrivalError,
    AwaitsWeights,
    RunError,
    StepcoderError,
    Unresponsive,
    last_line,
)
from stepcoder_dist.host.answering import drop, while_answering
from stepcoder_dist.host.lost_processes import LostProcesses
from stepcoder_dist.ports import LastWords, Placement, unheard

logger = logging.getLogger(__name__)

MAX_CALLS = 100_000
"""Calls that run in an actor at the same time. Ray's default for coroutines is 1,000, and every
group in flight holds one: a push could not enter, while the groups wait for its weights."""
ATTEMPTS = 3
"""Starts of a replacement before its slot is given up."""
REFRESH_AGAIN_S = 15.0
"""Seconds after which a push to one actor that failed is tried again."""
END_S = 60.0
"""How long Ray may take to say that a process which was killed has ended."""

Refresh = Callable[[Sequence[Any]], Awaitable[object]]
"""Pushes the learner's current weights to the given targets."""


def not_started(slots: Iterable[Slot]) -> RunError:
    """Return why the slots that were given up have no actor, with the last words of each."""
    failed = [slot for slot in slots if slot.place is Place.FAILED]
    error = RunError("; ".join(slot.failure for slot in failed))
    for slot in failed:
        if slot.words:
            error.add_note(slot.words)
    return error


class SlotKeeper:
    """Brings slots to READY and keeps them there. Use it on one event loop."""

    process: ClassVar[type] = RolloutActor
    """The class of the actors."""

    def __init__(
        self,
        config: RunConfig,
        checkpoint: str,
        placement: Placement,
        last_words: LastWords = unheard,
    ) -> None:
        self._config = config
        self._checkpoint = checkpoint
        self._placement = placement
        self.lost = LostProcesses(last_words)
        self.changed = asyncio.Condition()
        """Notified of every change that a wait in the pool may be about."""
        self.weights_were_pushed = False
        self.resting = False
        """From a rest to the next push: no engine may take GPU memory then."""
        self.refresh: Refresh | None = None
        self.settled: Callable[[], None] = lambda: None
        """Called when a slot has come to another place."""

    async def bring_up_all(self, slots: Sequence[Slot]) -> None:
        """Start new slots; raise `RunError` unless all are up within `start_timeout_s`."""
        await self.bring_up(slots)
        if any(slot.place is Place.FAILED for slot in slots):
            raise not_started(slots)

    async def bring_up(self, slots: Iterable[Slot]) -> None:
        """Return when slots that nobody ends are ready or failed, starting those that are new.

        A wait that is cancelled leaves them starting.
        """
        new = list(slots)
        for slot in new:
            if slot.keeper is None:
                slot.keeper = asyncio.create_task(self._bring_up(slot, attempts=1))
        if keepers := {slot.keeper for slot in new if slot.keeper}:
            await asyncio.wait(keepers)

    async def end_all(self, slots: Iterable[Slot]) -> None:
        """End the slots' processes, and what keeps them."""
        gone = list(slots)
        for task in (task for slot in gone for task in (slot.watcher, slot.keeper)):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await asyncio.gather(*(self._end(slot) for slot in gone))
        await self.lost.logged()

    def repair(self, slot: Slot, handle: Any, error: Exception) -> None:
        """Take the actor out of the pool until it is repaired; the first who notices does it."""
        if slot.handle is not handle or slot.place is not Place.READY or slot.leaving:
            return
        lost = not isinstance(error, AwaitsWeights)
        slot.place = Place.LOST if lost else Place.AWAITING_WEIGHTS
        state = "lost; starting it again" if lost else "out of date"
        logger.warning("%s is %s: %s", slot.name, state, last_line(error))
        if slot.watcher is not None:
            slot.watcher.cancel()
        slot.keeper = asyncio.create_task(self._bring_up(slot, attempts=ATTEMPTS))
        if lost:
            self.lost.log(slot.name, error)

    async def _watch(self, slot: Slot, handle: Any) -> None:
        """Repair the slot when its process ends or hangs, also while nothing is asked of it."""
        try:
            await self._while_answering(slot, handle, handle.until_the_end.remote())
        except (RayError, Unresponsive) as error:
            self.repair(slot, handle, error)

    async def _while_answering(self, slot: Slot, handle: Any, call: Awaitable[object]) -> None:
        # the engine's own thread answers this, between two steps
        await while_answering(call, handle.stats.remote, self._config.actors.silence_s, slot.name)

    async def _bring_up(self, slot: Slot, *, attempts: int) -> None:
        """Start the actor's process if it has none, give it complete weights, let it work.

        A process that worked and has no room now, because its node is away, is waited for as long
        as the pool lives: Ray starts it when the node is back, or another one has room.
        """
        failure = ""
        while attempts > 0:
            try:
                if slot.place is Place.LOST:
                    async with self.changed:
                        await self.changed.wait_for(lambda: not self.resting)
                        slot.place = Place.STARTING
                    async with asyncio.timeout(self._config.actors.start_timeout_s):
                        await self._replace_process(slot)
                await self._wait_for_weights(slot)
            except TimeoutError:
                limit = self._config.actors.start_timeout_s
                failure = f"it was not up within actors.start_timeout_s = {limit}"
                attempts -= not slot.joined
            except (RayError, StepcoderError, ValueError) as error:  # Ray: the name is taken
                failure = last_line(error)
                slot.words = await self.lost.words(slot.name, error)
                attempts -= 1
            else:
                slot.joined = True
                await self._settle(slot, Place.READY)
                slot.watcher = asyncio.create_task(self._watch(slot, slot.handle))
                return
            logger.warning("%s did not start: %s", slot.name, failure)
            await self._settle(slot, Place.LOST)
        slot.failure = f"{slot.name} did not start: {failure}"
        await self._settle(slot, Place.FAILED)

    async def _settle(self, slot: Slot, place: Place) -> None:
        async with self.changed:
            slot.place = place
            self.changed.notify_all()
        self.settled()

    async def _replace_process(self, slot: Slot) -> None:
        await self._end(slot)
        actor_class = ray.remote(self.process).options(
            name=slot.name,
            **self._config.actors.resources.reserved,
            **self._placement(slot.index),
            # The pool replaces processes itself: it must know when the weights are gone.
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=MAX_CALLS,
        )
        awaits_weights = self.weights_were_pushed
        slot.handle = actor_class.remote(
            slot.name, self._checkpoint, self._config, awaits_weights=awaits_weights
        )
        await slot.handle.stats.remote()
        if self.weights_were_pushed and not awaits_weights:
            raise RunError("the run's first push began while it started")

    async def _wait_for_weights(self, slot: Slot) -> None:
        """Have the actor brought to the current weights, or wait for a push of the run.

        A refresh that fails is tried again: the next push may wait for this very actor's samples.
        """
        # from here on a push of the run includes it; at rest only that may wake it
        await self._settle(slot, Place.AWAITING_WEIGHTS)
        complete = asyncio.ensure_future(
            self._while_answering(slot, slot.handle, slot.handle.wait_until_complete.remote())
        )
        told = False
        try:
            while not complete.done():
                refreshed = await self._refresh(slot, told=told)
                told = not refreshed
                await asyncio.wait({complete}, timeout=None if refreshed else REFRESH_AGAIN_S)
            complete.result()
        finally:
            drop(complete)

    async def _refresh(self, slot: Slot, *, told: bool) -> bool:
        """Ask for a push to the actor; return False where that failed. `told`: as before."""
        if not self.weights_were_pushed or self.refresh is None or self.resting:
            return True  # the run's own push comes
        slot.place = Place.REFRESHING
        try:
            await self.refresh([slot.handle])
        except ArrivalError:
            raise  # a complete version, of something else: a new process, not a new push
        except (RayError, StepcoderError) as error:
            if not told:
                logger.warning("%s waits for a push: %s", slot.name, last_line(error))
            return False
        finally:
            await self._settle(slot, Place.AWAITING_WEIGHTS)
        return True

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
        try:
            async with asyncio.timeout(END_S):
                await slot.handle.stats.remote()
        except RayError:
            pass
        except TimeoutError:
            logger.warning("Ray has not said within %g s that %s ended", END_S, slot.name)
        slot.handle = None
