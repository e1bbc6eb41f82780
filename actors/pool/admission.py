"""Which share goes to which rollout actor, and when: the oldest plan first, and no backlog.

An engine that has more to do than it decodes at once makes every push wait for the rest. So a share
goes to an engine that has room, and waits here while none has. The rest of a backlog is then
sampled by the weights that are in use when its turn comes, wherever there is room first.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from actors.pool.pool_slot import Place, Slot
from actors.pool.slot_keeper import not_started
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import RunError
from stepcoder_dist.records import RolloutRequest


def capped(config: RunConfig) -> int | None:
    """Return the samples that one actor takes before others wait; None: no limit.

    There is none where the composition of a batch has to be repeatable: there each engine gets its
    share of a step in one piece.
    """
    if config.samples_repeatably:
        return None
    return config.actors.max_in_flight or config.actors.max_batch


@dataclass(order=True, slots=True)
class _Waiting:
    """One share without an actor. Sample ids are in the order of planning."""

    sample_id: str
    number: int
    size: int = field(compare=False)
    placed: asyncio.Future[Slot] = field(compare=False)


class Admission:
    """Gives shares to slots. Use it on one event loop.

    A share fits while its slot has fewer than `cap` samples, so that an engine stays full; what is
    above the cap waits in the actor and starts there as others end. Shares overtake only younger
    ones.
    """

    def __init__(
        self, slots: Callable[[], Sequence[Slot]], cap: int | None, patience_s: float
    ) -> None:
        """`slots` returns the pool's slots; `patience_s` is the wait for a ready one."""
        self._slots = slots
        self._cap = cap
        self._patience_s = patience_s
        self._queue: list[_Waiting] = []
        self._by_load: list[tuple[int, int, int, Slot]] = []
        """A heap with an entry for each slot at its load of now; others are out of date."""
        self._numbers = itertools.count()

    @property
    def waiting(self) -> int:
        """Samples that no actor has room for yet."""
        return sum(each.size for each in self._queue if not each.placed.done())

    async def place(self, share: Sequence[RolloutRequest]) -> Slot:
        """Return a ready slot with room; its load has grown by the share.

        Raises `RunError` when every actor has failed, or none becomes ready in time.
        """
        first = min(request.ticket.sample_id for request in share)
        placed: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        behind_others = self._anyone_waits()
        heapq.heappush(self._queue, _Waiting(first, next(self._numbers), len(share), placed))
        if not behind_others:  # else no slot has room
            self._place_waiting()
        try:
            while not placed.done():
                await asyncio.wait({placed}, timeout=self._patience_s)
                if not placed.done():
                    self._check_ready()
        except BaseException:
            if not placed.done():
                placed.cancel()
            elif placed.exception() is None:  # placed in the turn in which its caller went away
                self.release(placed.result(), len(share))
            raise
        return placed.result()

    def release(self, slot: Slot, samples: int) -> None:
        """Take samples off a slot's load: they ended or were given up."""
        slot.release(samples)
        self._note(slot)
        self._fill(slot)

    def dispatch(self) -> None:
        """Place what waits, after any change: a share came, or a slot became ready or failed."""
        slots = self._slots()
        if slots and all(slot.place is Place.FAILED for slot in slots):
            self._fail(not_started(slots))
            return
        self._by_load.clear()  # slots became ready
        self._place_waiting()

    def _place_waiting(self) -> None:
        """Give shares to the least loaded slots, while one has room."""
        while self._anyone_waits():
            least = self._least_loaded()
            if least is None or not self._give(least):
                return

    def _least_loaded(self) -> Slot | None:
        while self._by_load:
            load, _, _, slot = self._by_load[0]
            if load == slot.load and slot.takes_work:
                return slot
            heapq.heappop(self._by_load)
        self._by_load = [
            (slot.load, slot.index, next(self._numbers), slot)
            for slot in self._slots()
            if slot.takes_work
        ]
        heapq.heapify(self._by_load)
        return self._by_load[0][-1] if self._by_load else None

    def _fill(self, slot: Slot) -> None:
        """Give a slot that has room again what is next."""
        while slot.takes_work and self._give(slot):
            pass

    def _give(self, slot: Slot) -> bool:
        """Give the oldest share to the slot; False if it has no room or nothing waits."""
        if not self._anyone_waits() or (self._cap is not None and slot.load >= self._cap):
            return False
        share = heapq.heappop(self._queue)
        slot.load += share.size
        self._note(slot)
        share.placed.set_result(slot)
        return True

    def _anyone_waits(self) -> bool:
        while self._queue and self._queue[0].placed.done():
            heapq.heappop(self._queue)  # its caller has gone
        return bool(self._queue)

    def _note(self, slot: Slot) -> None:
        """Enter a slot whose load has changed."""
        if len(self._by_load) > 4 * len(self._slots()) + 64:
            self._by_load.clear()  # most are out of date; all are entered again when one is asked
        elif self._by_load:
            heapq.heappush(self._by_load, (slot.load, slot.index, next(self._numbers), slot))

    def _check_ready(self) -> None:
        slots = self._slots()
        if not any(slot.takes_work for slot in slots):
            states = ", ".join(f"{slot.name} is {slot.place.name.lower()}" for slot in slots)
            raise RunError(f"no rollout actor became ready in {self._patience_s:.0f} s: {states}")

    def _fail(self, error: RunError) -> None:
        for each in self._queue:
            if not each.placed.done():
                each.placed.set_exception(error)
        self._queue.clear()
