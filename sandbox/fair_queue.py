"""Who gets the next free place: a program of the problem that has the fewest running.

Among equals the problem whose turn was longest ago, and within a problem first come, first
served. So a thousand slow programs of one problem leave room for the one program of another, and
a program waits for no other than those that run.

Of several free places the one is taken of which the fewest are taken (an executor has several), and
of equals the one that was free first.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Place = TypeVar("Place", bound=Hashable)


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Place]):
    place: asyncio.Future[Place]
    against: Callable[[Place], int]


class FreePlaces(Generic[Place]):
    """The free places, least busy first. The same place may be added several times."""

    def __init__(self) -> None:
        self._free: Counter[Place] = Counter()
        self._taken: Counter[Place] = Counter()
        self._numbers = itertools.count()
        self._heap: list[tuple[int, int, Place]] = []
        """How many were taken when it was added, in which order, and the place. Where more were
        taken since, the entry is put right when it comes up. Where fewer are, a place that ended
        was added since, with an entry of its own that comes up before. So none is overlooked."""

    def __bool__(self) -> bool:
        return bool(self._free)

    def add(self, place: Place) -> None:
        self._free[place] += 1
        heapq.heappush(self._heap, (self._taken[place], next(self._numbers), place))

    def ended(self, place: Place) -> None:
        """Count a place that is not taken any more. `add` it if it is free."""
        self._taken[place] -= 1
        if not self._taken[place]:
            del self._taken[place]

    def withdraw(self, place: Place) -> bool:
        """Take a free place away for good; False if it is not free."""
        if not self._free[place]:
            del self._free[place]
            return False
        self._forget(place)
        self._heap.remove(next(entry for entry in self._heap if entry[2] == place))
        heapq.heapify(self._heap)
        return True

    def take(self, against: Callable[[Place], int]) -> Place:
        """Take the least busy place that nothing speaks against; else the one with the least.

        Raises `IndexError` where none is free.
        """
        passed_over: list[tuple[int, int, Place]] = []
        while self._heap:
            taken, number, place = heapq.heappop(self._heap)
            if self._taken[place] > taken:
                heapq.heappush(self._heap, (self._taken[place], number, place))
            elif against(place):
                passed_over.append((taken, number, place))
            else:
                break
        else:
            entry = min(passed_over, key=lambda each: (against(each[2]), each))
            passed_over.remove(entry)
            place = entry[2]
        for entry in passed_over:
            heapq.heappush(self._heap, entry)
        self._forget(place)
        self._taken[place] += 1
        return place

    def _forget(self, place: Place) -> None:
        self._free[place] -= 1
        if not self._free[place]:
            del self._free[place]


class FairQueue(Generic[Place]):
    """Places that are free and programs that wait for one; never both. One event loop only."""

    def __init__(
        self,
        changed: Callable[[], None] = lambda: None,
        returned: Callable[[Place], None] | None = None,
    ) -> None:
        """`changed` is called after anything began or ceased to wait or run; `returned`, instead
        of `add`, for a place whose program was cancelled before it could take it."""
        self._changed = changed
        self._returned = returned or self.add
        self._free: FreePlaces[Place] = FreePlaces()
        self._waiting: OrderedDict[Hashable, deque[_Waiting[Place]]] = OrderedDict()
        self._running: Counter[Hashable] = Counter()
        self._closed: Exception | None = None
        self.waiting = 0
        self.running = 0

    def add(self, place: Place) -> None:
        """Add a place that is free, for the first time or again."""
        self._free.add(place)
        self._hand_out()

    def withdraw(self, place: Place) -> bool:
        """Take a free place away; False if it is not free."""
        return self._free.withdraw(place)

    async def get(self, key: Hashable, against: Callable[[Place], int] = lambda _: 0) -> Place:
        """Wait for a place. Call `done` afterwards.

        `against`: how much speaks against a place, 0 for nothing. It is asked when one is free.
        """
        if self._closed is not None:
            raise self._closed
        if self._free and not self._waiting:
            return self._take(key, against)
        waiting = _Waiting[Place](asyncio.get_running_loop().create_future(), against)
        self._waiting.setdefault(key, deque()).append(waiting)
        self.waiting += 1
        self._hand_out()
        try:
            return await waiting.place
        except asyncio.CancelledError:
            if waiting.place.done() and not waiting.place.cancelled():  # it came too late
                self.done(key, waiting.place.result())
                self._returned(waiting.place.result())
            else:
                self._forget(key, waiting)
            raise

    def done(self, key: Hashable, place: Place) -> None:
        """Record that a program which got a place has ended. `add` the place if it is free."""
        self._free.ended(place)
        self.running -= 1
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        self._changed()

    def close(self, error: Exception) -> None:
        """Nothing will be free again: everything that waits, or will, ends with this error."""
        self._closed = error
        for line in self._waiting.values():
            for waiting in line:
                if not waiting.place.done():
                    waiting.place.set_exception(error)
        self._waiting.clear()
        self.waiting = 0
        self._changed()

    def _hand_out(self) -> None:
        while self._free and self._waiting:
            key = self._next()
            line = self._waiting.pop(key)
            waiting = line.popleft()
            self.waiting -= 1
            if line:
                self._waiting[key] = line  # to the end: the others' turn comes first
            if waiting.place.done():  # cancelled a moment ago
                continue
            waiting.place.set_result(self._take(key, waiting.against))
        self._changed()

    def _take(self, key: Hashable, against: Callable[[Place], int]) -> Place:
        place = self._free.take(against)
        self._running[key] += 1
        self.running += 1
        self._changed()
        return place

    def _next(self) -> Hashable:
        fewest, chosen = None, None
        for key in self._waiting:
            running = self._running.get(key, 0)
            if not running:  # found after at most as many others as there are places
                return key
            if fewest is None or running < fewest:
                fewest, chosen = running, key
        return chosen

    def _forget(self, key: Hashable, waiting: _Waiting[Place]) -> None:
        line = self._waiting.get(key)
        if line is not None and waiting in line:
            line.remove(waiting)
            self.waiting -= 1
            if not line:
                del self._waiting[key]
        self._changed()
