"""What Ray's dashboard and Prometheus show of one rollout actor."""

from __future__ import annotations

from typing import Any, Self

from ray.util import metrics

from actors.engine_load import EngineLoad
from stepcoder_dist.records import Completion


class ActorMetrics:
    """What the Ray dashboard shows of one rollout actor."""

    def __init__(self, name: str) -> None:
        def tagged(metric: Any) -> Any:
            metric.set_default_tags({"actor": name})
            return metric

        keys = ("actor",)
        self.version = tagged(
            metrics.Gauge("stepcoder_rollout_weight_version", "committed weight version", keys)
        )
        self._in_flight_gauge = tagged(
            metrics.Gauge("stepcoder_rollout_in_flight", "samples asked for, not finished", keys)
        )
        self._tokens = tagged(metrics.Counter("stepcoder_rollout_tokens", "sampled tokens", keys))
        self._samples = tagged(
            metrics.Counter("stepcoder_rollout_samples", "finished samples", keys)
        )
        self._seconds = tagged(
            metrics.Histogram(
                "stepcoder_rollout_sample_seconds",
                "seconds of one sample in the engine",
                [0.1, 0.3, 1, 3, 10, 30, 100, 300],
                keys,
            )
        )
        self.pause = tagged(
            metrics.Histogram(
                "stepcoder_rollout_pause_seconds",
                "seconds in which a push kept the engine from decoding",
                [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100],
                keys,
            )
        )
        self._busy = tagged(
            metrics.Counter("stepcoder_rollout_busy_seconds", "seconds spent decoding", keys)
        )
        self._busy_s = 0.0
        self._load_gauges = {
            figure: tagged(metrics.Gauge(f"stepcoder_rollout_{figure}", meaning, keys))
            for figure, meaning in (
                ("running", "requests in the engine's batch"),
                ("waiting", "requests that wait for room in the batch or the KV cache"),
                ("kv_cache_use", "share of the KV cache that running requests hold, 0 to 1"),
            )
        }
        self._preemptions = tagged(
            metrics.Counter(
                "stepcoder_rollout_preemptions",
                "times that a request lost its KV cache to others",
                keys,
            )
        )
        self._preempted = 0
        self._in_flight = 0

    def show_load(self, load: EngineLoad) -> None:
        for figure, gauge in self._load_gauges.items():
            gauge.set(getattr(load, figure))
        if load.busy_s > self._busy_s:
            self._busy.inc(load.busy_s - self._busy_s)
            self._busy_s = load.busy_s
        if load.preemptions > self._preempted:
            self._preemptions.inc(load.preemptions - self._preempted)
            self._preempted = load.preemptions

    def share(self, size: int) -> ShareMetrics:
        return ShareMetrics(self, size)

    def change_in_flight(self, by: int) -> None:
        self._in_flight += by
        self._in_flight_gauge.set(self._in_flight)

    def count(self, completion: Completion) -> None:
        self.change_in_flight(-1)
        self._samples.inc()
        self._tokens.inc(len(completion.token_ids))
        self._seconds.observe(completion.seconds)


class ShareMetrics:
    """Counts one share in and out, however it ends."""

    def __init__(self, metrics_of_actor: ActorMetrics, size: int) -> None:
        self._metrics = metrics_of_actor
        self._left = size

    def __enter__(self) -> Self:
        self._metrics.change_in_flight(self._left)
        return self

    def finished(self, completion: Completion) -> None:
        self._left -= 1
        self._metrics.count(completion)

    def __exit__(self, *_: object) -> None:
        self._metrics.change_in_flight(-self._left)
