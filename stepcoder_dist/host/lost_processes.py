"""What the lost processes of a pool wrote last, for the log and for the pool's own errors."""

from __future__ import annotations

import asyncio
import logging

from stepcoder_dist.ports import LastWords

logger = logging.getLogger(__name__)


class LostProcesses:
    """Reads the last words of processes by their names. Use it on one event loop."""

    def __init__(self, last_words: LastWords) -> None:
        self._last_words = last_words
        self._reading: set[asyncio.Task[None]] = set()

    async def words(self, name: str, error: Exception) -> str:
        """Return the last words of the process that this error of Ray's is about, with its name.

        Empty where there is no such process.
        """
        words = await self._last_words(error)
        return f"{name}, {words}" if words else ""

    def log(self, name: str, error: Exception) -> None:
        """Log the last words when they are there: what replaces the process does not wait."""
        reading = asyncio.create_task(self._log(name, error))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)

    async def logged(self) -> None:
        """Return when the words of all that were lost are in the log."""
        await asyncio.gather(*self._reading)

    async def _log(self, name: str, error: Exception) -> None:
        if words := await self.words(name, error):
            logger.warning("%s", words)
