"""Work on several items at a time, with the results in the order of the items."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from itertools import islice
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def in_order(
    items: Iterable[Item],
    work: Callable[[Item], Coroutine[Any, Any, Result]],
    *,
    in_flight: int,
) -> AsyncGenerator[tuple[Item, Result], None]:
    """Yield each item with the result of its work. Items are taken as there is room for them.

    Raises what the work of an item raises, in its turn. Close it (`contextlib.aclosing`) to end
    the work that is under way.
    """
    coming = iter(items)
    pending: deque[tuple[Item, asyncio.Task[Result]]] = deque()
    try:
        while True:
            for item in islice(coming, in_flight - len(pending)):
                pending.append((item, asyncio.ensure_future(work(item))))
            if not pending:
                return
            item, task = pending[0]
            yield item, await task
            pending.popleft()
    finally:
        for _, task in pending:
            task.cancel()
        await asyncio.gather(*(task for _, task in pending), return_exceptions=True)
