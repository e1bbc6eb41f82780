"""A started sandbox for synchronous callers: its event loop runs on a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.backend import open_pool
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.records import TestSuite, Verdict


@dataclass(frozen=True, slots=True)
class Work:
    """One program to judge."""

    source: str
    tests: TestSuite
    problem_id: str


class BackgroundPool:
    """Judges for any thread. It starts with the first program and ends with `close` or the process.

    Pickled, it is its settings: the copy in another process starts a sandbox of its own.
    """

    def __init__(self, **settings: Any) -> None:
        """`settings` are keys of `[sandbox]`.

        Raises `MissingEngine` without an engine or the image, and pydantic's `ValidationError`.
        """
        self._settings = settings
        self._pool: WorkerPool = open_pool(**settings)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def __getstate__(self) -> dict[str, Any]:
        return {"settings": self._settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["settings"])  # type: ignore[misc]

    def submit(self, work: Work) -> concurrent.futures.Future[Verdict]:
        """Begin to judge one program; return its future.

        The future raises `SandboxFault` and `ProblemError` as `WorkerPool.judge` does. Raises
        `SandboxFault` itself where the sandbox cannot be started or is closed.
        """
        pool, loop = self._started()
        judging = pool.judge(work.source, work.tests, problem_id=work.problem_id)
        return asyncio.run_coroutine_threadsafe(judging, loop)

    def judge_all(self, works: Sequence[Work]) -> list[Verdict | BaseException]:
        """Judge all of them at once; return their verdicts in order, or why there is none."""
        futures = [self.submit(work) for work in works]
        try:
            concurrent.futures.wait(futures)
        except BaseException:  # Ctrl-C: nobody waits for them any more
            for future in futures:
                future.cancel()
            raise
        return [future.exception() or future.result() for future in futures]

    def close(self) -> None:
        """End the sandbox and its thread; programs under way end with a fault."""
        with self._lock:
            self._closed = True
            pool, loop, thread = self._pool, self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(pool.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _started(self) -> tuple[WorkerPool, asyncio.AbstractEventLoop]:
        with self._lock:
            if self._closed:
                raise SandboxFault("the sandbox is closed")
            loop = self._loop or self._start(self._pool)
            return self._pool, loop

    def _start(self, pool: WorkerPool) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="stepcoder-sandbox", daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(pool.start(), loop).result()
        except BaseException:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            self._pool = open_pool(**self._settings)  # a pool that failed is closed for good
            raise
        self._loop, self._thread = loop, thread
        _before_exit(self.close)
        return loop


def _before_exit(close: Callable[[], None]) -> None:
    """Call it when the interpreter ends, while threads can still be started."""
    # functions of atexit run when executors take no work any more, and closing needs some
    register = getattr(threading, "_register_atexit", atexit.register)
    register(close)
