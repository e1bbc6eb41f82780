"""Who gets the next free place: a program of the problem that has the fewest running.

Among equals the problem whose turn was longest ago, and within a problem first come, first
served. So a thousand slow programs of one problem leave room for the one program of another, and
a program waits for no other than those that run.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Place = TypeVar("Place")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Place]):
    place: asyncio.Future[Place]
    rank: Callable[[Place], Any]


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
        self._free: list[Place] = []
        self._waiting: OrderedDict[Hashable, deque[_Waiting[Place]]] = OrderedDict()
        self._running: Counter[Hashable] = Counter()
        self._closed: Exception | None = None
        self.waiting = 0
        self.running = 0

    def add(self, place: Place) -> None:
        """Add a place that is free, for the first time or again."""
        self._free.append(place)
        self._hand_out()

    def withdraw(self, place: Place) -> bool:
        """Take a free place away; False if it is not free."""
        if place not in self._free:
            return False
        self._free.remove(place)
        return True

    async def get(self, key: Hashable, rank: Callable[[Place], Any] = lambda _: 0) -> Place:
        """Wait for a place; of several free ones the lowest in `rank`. Call `done` afterwards."""
        if self._closed is not None:
            raise self._closed
        waiting = _Waiting[Place](asyncio.get_running_loop().create_future(), rank)
        self._waiting.setdefault(key, deque()).append(waiting)
        self.waiting += 1
        self._hand_out()
        try:
            return await waiting.place
        except asyncio.CancelledError:
            if waiting.place.done() and not waiting.place.cancelled():  # it came too late
                self.done(key)
                self._returned(waiting.place.result())
            else:
                self._forget(key, waiting)
            raise

    def done(self, key: Hashable) -> None:
        """Record that a program which got a place has ended."""
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
            place = min(self._free, key=waiting.rank)
            self._free.remove(place)
            self._running[key] += 1
            self.running += 1
            waiting.place.set_result(place)
        self._changed()

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
