"""An engine that is away: waited for with growing pauses, up to a limit, then one clear error.

Whoever finds it away says so here, and so does whoever finds it back. The time counts from the
first that missed it, for all programs together: when it is over, the next ones fail at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from stepcoder_dist.errors import EngineAway, SandboxFault

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0

Answer = TypeVar("Answer")


def pauses() -> Iterator[float]:
    """Yield seconds between tries: twice as long each time, up to `LONGEST_PAUSE_S`."""
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


class Absence:
    """The time since which the engine is away, for one event loop; any thread may call `over`."""

    def __init__(self, most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_s = most_s
        self._clock = clock
        self._since: float | None = None
        self._last_seen = 0.0

    def over(self) -> None:
        """Record that the engine answers."""
        self._since = None

    def now(self) -> float:
        """Return the time by the clock that `wait` compares with."""
        return self._clock()

    async def wait(self, away: EngineAway, pause_s: float, looked: float) -> None:
        """Wait before another try. Raises `SandboxFault` when it has been away for too long.

        `looked` is when the try began that missed it: an engine that says nothing makes tries long.
        """
        now = self._clock()
        # nobody looked for a long while: another absence than the one before
        if self._since is None or looked - self._last_seen > 2 * self._most_s:
            self._since = now
        self._last_seen = now
        left_s = self._since + self._most_s - now
        if left_s <= 0:
            raise SandboxFault(
                f"{away}; waited {self._most_s:g} s for it (sandbox.engine_wait_s): start it, "
                "then continue with --resume"
            ) from away
        await asyncio.sleep(min(pause_s, left_s))


async def until_it_answers(ask: Callable[[], Answer], most_s: float) -> Answer:
    """Return what `ask` does once it raises `EngineAway` no more; it is called on a thread.

    Raises `SandboxFault` after `most_s`.
    """
    absence = Absence(most_s)
    for pause_s in pauses():
        began = absence.now()
        try:
            return await asyncio.to_thread(ask)
        except EngineAway as away:
            await absence.wait(away, pause_s, began)
    raise AssertionError("the pauses never end")
