"""How a command ends early: SIGINT (Ctrl-C) and SIGTERM (`ray job stop`).

    1st signal   a run in training ends at the next safe place, with a checkpoint; anything else
                 ends at once. Both close what they opened.
    2nd signal   ends at once, without a checkpoint, and closes what was opened.
    3rd signal   the process dies of it; what it leaves is found and removed at the next start.

The exit code is 128 + the signal's number: 130 and 143.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from stepcoder_dist.errors import Interrupted, StopAsked

Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 3
"""The signal of this number ends the process."""


class StopRequest:
    """A request to stop a run, and how the run waits without missing it; for one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._announce: Callable[[str], None] | None = None
        self.signal = signal.SIGTERM
        """The signal that caused the request."""

    @property
    def asked(self) -> bool:
        return self._event.is_set()

    @property
    def heeded(self) -> bool:
        """True while a run would stop at a safe place if it were asked."""
        return self._announce is not None

    @contextmanager
    def heed(self, announce: Callable[[str], None]) -> Iterator[None]:
        """Inside the block a run heeds the request; `announce` gets the signal's name."""
        self._announce = announce
        try:
            yield
        finally:
            self._announce = None

    def ask(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Ask a run that heeds it to stop."""
        self.signal = by
        self._event.set()
        if self._announce is not None:
            self._announce(by.name)

    def check(self) -> None:
        """Mark a safe place to stop. Raises `StopAsked`."""
        if self.asked:
            raise StopAsked

    async def first(self, work: Awaitable[Result]) -> Result:
        """Wait for the work; when asked meanwhile, cancel it and raise `StopAsked`."""
        working = asyncio.ensure_future(work)
        asking = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait({working, asking}, return_when=asyncio.FIRST_COMPLETED)
            self.check()
            return await working
        finally:
            for task in (working, asking):
                task.cancel()
            await asyncio.gather(working, asking, return_exceptions=True)


class _Signals:
    """What the process's handlers do at the moment."""

    def __init__(self) -> None:
        self.handled = False
        self.received: list[signal.Signals] = []
        self.notify: Callable[[], None] | None = None
        """Wakes the event loop that runs; without a loop a signal is raised where it arrives."""


_signals = _Signals()


@contextmanager
def handled() -> Iterator[None]:
    """Handle both signals inside the block."""
    before = {name: signal.getsignal(name) for name in SIGNALS}
    _signals.handled, _signals.received = True, []
    take_back()
    try:
        yield
    finally:
        _signals.handled = False
        for name, handler in before.items():
            signal.signal(name, handler)


def take_back() -> None:
    """Take over both signals, again after a library that wants them for itself."""
    if _signals.handled:
        for name in SIGNALS:
            signal.signal(name, _handle)


def _handle(number: int, _frame: FrameType | None) -> None:
    _signals.received.append(signal.Signals(number))
    if len(_signals.received) >= _PATIENCE:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    elif _signals.notify is not None:
        _signals.notify()
    elif len(_signals.received) == 1:
        raise Interrupted(signal.Signals(number))
    # else: everything is being closed already


def run_until_done(command: Coroutine[Any, Any, None], stop: StopRequest | None = None) -> None:
    """Run a command to its end, or to the end that a signal asks for.

    Raises `Interrupted` when a signal ended it and everything that it opened is closed.
    """

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(command)
        before = len(_signals.received)

        def act() -> None:
            first = len(_signals.received) == before + 1
            if first and stop is not None and stop.heeded:
                stop.ask(_signals.received[-1])
            else:
                task.cancel()

        _signals.notify = lambda: _wake(loop, act)
        try:
            await task
        except asyncio.CancelledError:
            if len(_signals.received) == before:
                raise
            raise Interrupted(_signals.received[-1]) from None
        finally:
            _signals.notify = None

    asyncio.run(main())


def _wake(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(act)
