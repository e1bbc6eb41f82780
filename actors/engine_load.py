"""What vLLM's scheduler holds, for the Ray metrics of a rollout actor.

vLLM's own statistics would cost a record for each token of each request, and a Prometheus registry
besides. These few figures are read from the scheduler itself. Importing this file is cheap.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

REPORT_EVERY_S = 1.0
"""Ray collects metrics every few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """One engine between two steps."""

    running: int
    """Requests that take part in its steps."""
    waiting: int
    """Requests that wait for room in the batch or the cache, those that were preempted included."""
    kv_cache_use: float
    """The share of the cache's blocks that running requests hold, 0 to 1."""
    preemptions: int
    """How often, since the engine began, a request lost its cache to others and had to compute it
    again."""
    busy_s: float
    """Seconds that the engine's steps took, since it began."""


class LoadReader:
    """Reads one engine. Call it on the engine's thread."""

    def __init__(
        self, engine: Any, report: Callable[[EngineLoad], None], busy_s: Callable[[], float]
    ) -> None:
        """`engine` is an `LLMEngine` whose core is in this very process."""
        self._busy_s = busy_s
        self._scheduler = engine.engine_core.engine_core.scheduler
        self._report = report
        self._reported_at = -REPORT_EVERY_S
        self._preempted: dict[str, int] = {}
        """How often each request in the engine was preempted, where it was."""
        self._preemptions = 0

    def read(self) -> None:
        """Count preemptions; report the load from time to time, and when nothing is left.

        Call it after every step: a request that has ended is forgotten.
        """
        requests = self._scheduler.requests
        seen = {i: r.num_preemptions for i, r in requests.items() if r.num_preemptions}
        self._preemptions += sum(n - self._preempted.get(i, 0) for i, n in seen.items())
        self._preempted = seen
        now = time.monotonic()
        if not requests or now - self._reported_at >= REPORT_EVERY_S:
            self._reported_at = now
            self._report(self.now())

    def now(self) -> EngineLoad:
        running, waiting = self._scheduler.get_request_counts()
        return EngineLoad(
            running=running,
            waiting=waiting,
            kv_cache_use=self._scheduler.get_kv_cache_usage(),
            preemptions=self._preemptions,
            busy_s=self._busy_s(),
        )
