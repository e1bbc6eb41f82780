"""What `GET /metrics` says, in Prometheus' text format."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sandbox.seat import PoolStats


class ServiceMetrics:
    """The metrics of one service, in a registry of its own."""

    def __init__(self, stats: PoolStats) -> None:
        self._registry = CollectorRegistry()
        name = "stepcoder_sandbox_service"
        here = self._registry
        self.requests = Counter(
            f"{name}_requests", "Answered requests", ["path", "status"], registry=here
        )
        self.verdicts = Counter(f"{name}_verdicts", "Verdicts", ["outcome"], registry=here)
        self.seconds = Histogram(
            f"{name}_seconds",
            "Seconds from an admitted request to its verdict",
            registry=here,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        )
        self.in_flight = Gauge(f"{name}_in_flight", "Admitted, without a verdict", registry=here)
        for field, says in (
            ("waiting", "Programs in the queue"),
            ("workers", "Warm places"),
            ("faults", "Tries that the sandbox itself failed"),
            ("recycled", "Places that were replaced"),
        ):
            gauge = Gauge(f"{name}_{field}", says, registry=here)
            gauge.set_function(partial(_count, stats, field))

    def page(self) -> bytes:
        """Return the text."""
        return generate_latest(self._registry)


def _count(stats: PoolStats, field: str) -> float:
    return float(getattr(stats, field))
