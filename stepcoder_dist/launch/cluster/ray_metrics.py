"""A step's figures in the Ray dashboard and at Ray's Prometheus endpoint."""

from __future__ import annotations

from collections.abc import Mapping

from stepcoder_dist.loop.metrics import METRICS


class RayMetrics:
    """A sink of gauges named `stepcoder_<name>`, with `_` for `/`."""

    def __init__(self) -> None:
        from ray.util.metrics import Gauge

        self._gauges = {
            name: Gauge(f"stepcoder_{name.replace('/', '_')}", description=meaning)
            for name, meaning in METRICS.items()
        }

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Set the gauges. Raises `ValueError` for a figure that `METRICS` has no name for."""
        del step  # a gauge's time is when it is read
        if unknown := sorted(figures.keys() - self._gauges.keys()):
            raise ValueError(
                f"figures without a name: {', '.join(unknown)}; say what they mean in "
                "stepcoder_dist/loop/metrics.py"
            )
        for name, value in figures.items():
            self._gauges[name].set(value)

    def close(self) -> None:
        pass
