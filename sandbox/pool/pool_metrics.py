"""What the Ray dashboard and Prometheus show of the sandbox; each name begins with `ray_` there.

The driver's pool counts programs, since the queue is there; an executor counts its containers.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Counted, deque
from collections.abc import Callable, Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from sandbox.seat import PoolStats
from stepcoder_dist.records import Outcome

LATENCY_MS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000)
PERCENTILES = (50, 95, 99)
_WINDOW = 500
"""Programs that the percentiles are about: the last so many."""
SHOW_S = 1.0
"""Ray exports metrics every few seconds; each call of its own would cost a program more than the
rest of the driver's work on it."""


class Latencies:
    """Milliseconds from program to verdict of the last programs, the queue included."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_WINDOW)

    def add(self, milliseconds: float) -> None:
        self._last.append(milliseconds)

    def percentiles(self) -> dict[str, float]:
        """By name: `latency_p50_ms`, …; the nearest rank, 0 where there is nothing yet."""
        ordered = sorted(self._last) or [0.0]
        return {
            f"latency_p{p}_ms": ordered[max(0, -(-len(ordered) * p // 100) - 1)]
            for p in PERCENTILES
        }


class ProgramMetrics:
    """The metrics of the entire pool, kept in the driver.

    They are handed to Ray `SHOW_S` after the first change, all together. Use it on one event loop.
    """

    def __init__(self, gauges: Callable[[], Mapping[str, float]]) -> None:
        """`gauges` returns the values of `waiting`, `in_flight` and `executors` at the time."""
        self._now = gauges
        self._latencies = Latencies()
        self._outcomes: Counted[str] = Counted()
        """Not handed over yet; so are the observations."""
        self._observed: list[float] = []
        self._due: asyncio.TimerHandle | None = None
        self._verdicts = Counter(
            "stepcoder_sandbox_verdicts", "Verdicts, by outcome.", tag_keys=("outcome",)
        )
        self._faults = Counter(
            "stepcoder_sandbox_faults",
            "Tries that ended without a verdict: the sandbox's failures.",
        )
        self._restarts = Counter("stepcoder_sandbox_restarts", "Executors that were replaced.")
        self._latency = Histogram(
            "stepcoder_sandbox_latency_ms",
            "Program to verdict, the queue included.",
            boundaries=list(LATENCY_MS),
        )
        self._gauges = {
            name: Gauge(f"stepcoder_sandbox_{name}", meaning)
            for name, meaning in (
                ("waiting", "Programs in the queue."),
                ("in_flight", "Programs that are being judged."),
                ("executors", "Executors in the pool."),
                *(
                    (name, f"Of the last {_WINDOW} programs.")
                    for name in self._latencies.percentiles()
                ),
            )
        }

    def verdict(self, outcome: Outcome, milliseconds: float) -> None:
        self._outcomes[outcome.value] += 1
        self._observed.append(milliseconds)
        self._latencies.add(milliseconds)
        self.changed()

    def fault(self) -> None:
        self._faults.inc()

    def restart(self) -> None:
        self._restarts.inc()

    def percentiles(self) -> dict[str, float]:
        return self._latencies.percentiles()

    def changed(self) -> None:
        """Have the figures of now handed over soon."""
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(SHOW_S, self.hand_over)

    def hand_over(self) -> None:
        """Hand everything to Ray now."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        outcomes, self._outcomes = self._outcomes, Counted()
        for outcome, number in outcomes.items():
            self._verdicts.inc(number, tags={"outcome": outcome})
        observed, self._observed = self._observed, []
        for milliseconds in observed:
            self._latency.observe(milliseconds)
        for name, value in (*self._now().items(), *self._latencies.percentiles().items()):
            self._gauges[name].set(value)


class ContainerMetrics:
    """The metrics of one executor, kept in its process."""

    def __init__(self, executor: str) -> None:
        tags: dict[str, Any] = {"tag_keys": ("executor",)}
        self._gauges = {
            "recycled": Gauge(
                "stepcoder_sandbox_recycled", "Containers replaced since the start.", **tags
            ),
            "workers": Gauge("stepcoder_sandbox_containers", "Warm containers.", **tags),
            "faults": Gauge(
                "stepcoder_sandbox_container_faults",
                "Tries that a container did not survive, since the start.",
                **tags,
            ),
        }
        for gauge in self._gauges.values():
            gauge.set_default_tags({"executor": executor})

    def show(self, stats: PoolStats) -> None:
        for name, gauge in self._gauges.items():
            gauge.set(getattr(stats, name))
