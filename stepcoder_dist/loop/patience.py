"""The waits of the loops for each other, and their deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stepcoder_dist.errors import RunError


class Changes:
    """What waits for something to change, asked once in a turn of the event loop.

    However much changes in a turn, each condition is looked at once, and only who has what it waits
    for runs. Use it on one event loop.
    """

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], Callable[[], object]] = {}
        self._due = False

    def notify(self) -> None:
        """Have the conditions looked at, after what runs now."""
        if self._waiting and not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._look)

    async def wait_for(self, there: Callable[[], object]) -> None:
        """Wait until `there()` is true. It is still true when this returns."""
        while not there():
            woken = asyncio.get_running_loop().create_future()
            self._waiting[woken] = there
            try:
                await woken
            finally:
                del self._waiting[woken]

    def _look(self) -> None:
        self._due = False
        for woken, there in self._waiting.items():
            if not woken.done() and there():
                woken.set_result(None)


class Patience:
    """Notices that a run has come to a halt. Use it on one event loop.

    Nobody knows how long one loop has to wait for the other: a learner step of hours is as good as
    one of seconds. So the time counts from the last change, and not at all inside `working`, where
    something is awaited that has a deadline of its own.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is that of the event loop."""
        self._limit_s = limit_s
        self._clock = clock
        self._since = clock()
        self._working = 0

    def moved(self) -> None:
        """Record that something has changed: the time begins again."""
        self._since = self._clock()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Let no time pass inside the block."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            self.moved()

    async def until(
        self, changed: Changes, there: Callable[[], object], what: Callable[[], str]
    ) -> None:
        """Wait until `there()` is true. Every change that may make it so has to be notified.

        Raises `RunError` when nothing has changed for the limit; it says `what` was waited for.
        """
        self.moved()  # whoever begins to wait has done something
        if there():
            return
        while True:
            try:
                async with asyncio.timeout(self._left_s):
                    await changed.wait_for(there)
                    return
            except TimeoutError:
                if self._left_s <= 0 and not there():
                    raise RunError(
                        f"the run waits for {what()}, and nothing has changed for "
                        f"{self._limit_s:g} s (train.stall_s); continue with --resume"
                    ) from None

    @property
    def _left_s(self) -> float:
        if self._working:
            return self._limit_s
        return self._since + self._limit_s - self._clock()
