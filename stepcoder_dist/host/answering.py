"""A remote call whose process is watched: one that is hung, not dead, ends no call of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from stepcoder_dist.errors import Unresponsive

Result = TypeVar("Result")

PINGS = 4
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
            await asyncio.wait({answering}, timeout=silence_s / PINGS)
            if answering.done():
                break
            pinging = asyncio.ensure_future(ping())
            try:
                await asyncio.wait(
                    {answering, pinging}, timeout=silence_s, return_when=asyncio.FIRST_COMPLETED
                )
                silent = not pinging.done()
            finally:  # also where the caller goes away while it is asked
                drop(pinging)
            if answering.done():
                break
            if silent:
                raise Unresponsive(f"{name} has not answered for {silence_s:g} s: it hangs")
        return answering.result()
    finally:
        drop(answering)


class Watch:
    """One watch over all calls of a process: it ends them when the process hangs.

    Many calls have one timer and one ping here, where `while_answering` has them for each. Use it
    on one event loop, each call awaited inside `with watch.over_call()`.
    """

    def __init__(self, ping: Callable[[], Awaitable[Any]], silence_s: float, name: str) -> None:
        """A ping that fails counts as an answer: the calls themselves say what is wrong."""
        self._ping = ping
        self._silence_s = silence_s
        self._name = name
        self._calls: set[WatchedCall] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    def over_call(self) -> WatchedCall:
        """Return the context of one call. Use it once.

        Raises `Unresponsive` there at most 1.25 times `silence_s` after the process has stopped.
        """
        return WatchedCall(self)

    def add(self, call: WatchedCall) -> None:
        self._calls.add(call)
        self._ask_soon()

    def remove(self, call: WatchedCall) -> None:
        self._calls.discard(call)
        if not self._calls and self._asking is not None:
            self._asking.cancel()
            self._asking = None
        # a timer stays: most often another call begins before it ends

    def silent(self) -> Unresponsive:
        """Return what a call of the process raises when it hangs."""
        return Unresponsive(f"{self._name} has not answered for {self._silence_s:g} s: it hangs")

    def _ask_soon(self) -> None:
        if self._timer is None and self._asking is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._silence_s / PINGS, self._ask)

    def _ask(self) -> None:
        self._timer = None
        if self._calls:
            self._asking = asyncio.create_task(self._ask_once())

    async def _ask_once(self) -> None:
        pinging = asyncio.ensure_future(self._answer())
        try:
            await asyncio.wait({pinging}, timeout=self._silence_s)
            silent = not pinging.done()
        finally:
            drop(pinging)
        self._asking = None
        if silent:
            for call in self._calls:
                call.end()
        elif self._calls:
            self._ask_soon()

    async def _answer(self) -> None:
        await self._ping()


class WatchedCall:
    """The context of one call under a `Watch`."""

    __slots__ = ("_before", "_ended", "_task", "_watch")

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._task: asyncio.Task[Any] | None = None
        self._before = 0
        self._ended = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._before = self._task.cancelling() if self._task else 0
        self._watch.add(self)
        return self

    def end(self) -> None:
        """End the call: its process hangs."""
        if self._task is not None and not self._ended:
            self._ended = True
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._watch.remove(self)
        if self._ended and self._task is not None:
            # as `asyncio.timeout` does it: a caller who goes away at the same time comes first
            others = self._task.uncancel() > self._before
            if kind is asyncio.CancelledError and not others:
                raise self._watch.silent() from error


def drop(waiting: asyncio.Future[Any]) -> None:
    """Stop waiting for a call: what it ends with, also later, is nobody's."""
    waiting.cancel()
    if waiting.done():
        _see(waiting)
    else:
        waiting.add_done_callback(_see)  # it may fail before it is cancelled


def _see(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()
