"""Shares of requests on their way into an engine and out, and the time in which it takes none."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from stepcoder_dist.records import Completion, RolloutRequest

Deliver = Callable[[Completion | Exception], None]
"""Takes what one request came to; called on the engine's thread."""


@dataclass(slots=True, eq=False)
class Share:
    """The requests of one `sample` call and where its completions go."""

    requests: tuple[RolloutRequest, ...]
    deliver: Deliver
    engine_ids: list[str] = field(default_factory=list)
    cancelled: bool = False


class Outbox:
    """What the requests of one share came to, on its way to who asked for it; on the thread.

    Completions of one step of the engine go together: samples of one prompt often end together, and
    what carries them costs by the message. What can have nothing behind it goes at once: the
    share's last completion, and an error.
    """

    def __init__(
        self, size: int, send: Callable[[list[Completion] | Exception], None], full: set[Outbox]
    ) -> None:
        """`full` has the outboxes that are to be emptied after the step."""
        self._left = size
        self._send = send
        self._full = full
        self._kept: list[Completion] = []

    def put(self, item: Completion | Exception) -> None:
        if isinstance(item, Exception):
            self.empty()
            self._send(item)
            return
        self._left -= 1
        self._kept.append(item)
        self._full.add(self)
        if not self._left:
            self.empty()

    def empty(self) -> None:
        """Send what is kept."""
        self._full.discard(self)
        if self._kept:
            kept, self._kept = self._kept, []
            self._send(kept)


class HeldRequests:
    """Requests that the engine has no room for yet, in the order in which they came."""

    def __init__(self) -> None:
        self._held: deque[tuple[Share, RolloutRequest]] = deque()

    def add(self, share: Share) -> None:
        self._held.extend((share, request) for request in share.requests)

    def next(self) -> tuple[Share, RolloutRequest] | None:
        """Return the first one that somebody still wants, and hold it no longer."""
        while self._held:
            share, request = self._held.popleft()
            if not share.cancelled:
                return share, request
        return None

    def give_up(self) -> list[Share]:
        """Hold nothing any more; return the shares that wait for a part of it."""
        shares = {id(share): share for share, _ in self._held if not share.cancelled}
        self._held.clear()
        return list(shares.values())


class PauseClock:
    """Adds up the seconds of pauses."""

    def __init__(self) -> None:
        self._since: float | None = None
        self.total_s = 0.0

    def start(self) -> None:
        """Begin a pause, unless one has begun."""
        if self._since is None:
            self._since = time.monotonic()

    def end(self) -> None:
        if self._since is not None:
            self.total_s += time.monotonic() - self._since
            self._since = None
