"""A remote call whose process is watched: one that is hung, not dead, ends no call of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from stepcoder_dist.errors import Unresponsive

Result = TypeVar("Result")

_PINGS = 4
"""Pings in the seconds that a process may be silent."""


async def while_answering(
    call: Awaitable[Result], ping: Callable[[], Awaitable[Any]], silence_s: float, name: str
) -> Result:
    """Return what the call returns, however long that takes, while the process answers pings.

    Raises `Unresponsive` at most 1.25 times `silence_s` after the process has stopped. A ping that
    fails counts as an answer: the call itself says what is wrong.
    """
    answering = asyncio.ensure_future(call)
    try:
        while True:
            await asyncio.wait({answering}, timeout=silence_s / _PINGS)
            if answering.done():
                break
            pinging = asyncio.ensure_future(ping())
            await asyncio.wait(
                {answering, pinging}, timeout=silence_s, return_when=asyncio.FIRST_COMPLETED
            )
            silent = not pinging.done()
            _drop(pinging)
            if answering.done():
                break
            if silent:
                raise Unresponsive(f"{name} has not answered for {silence_s:g} s: it hangs")
        return answering.result()
    finally:
        _drop(answering)


def _drop(waiting: asyncio.Future[Any]) -> None:
    if not waiting.done():
        waiting.cancel()
    elif not waiting.cancelled():
        waiting.exception()  # seen
