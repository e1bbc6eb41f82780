"""How a command ends early: SIGINT and SIGTERM close what it opened, and nothing is left."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


def run_until_done(command: Coroutine[Any, Any, None]) -> None:
    """Run a command; SIGINT and SIGTERM cancel it, so that everything it opened is closed."""

    async def main() -> None:
        task = asyncio.ensure_future(command)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    asyncio.run(main())
