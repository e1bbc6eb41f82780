"""A sink in a thread of its own: a server that is slow or away holds up no step."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping

from stepcoder_dist.run.sinks.metric_sinks import MetricSink

logger = logging.getLogger(__name__)

CLOSE_S = 30.0
"""How long the end of a run waits for figures that have not been sent."""
MOST_ROWS = 4096
"""Rows that wait to be sent. Those beyond are not sent: metrics.jsonl has them."""


class BackgroundSink:
    """Passes figures on in their order. A row that cannot be sent is a warning, no error."""

    def __init__(self, sink: MetricSink, name: str, *, close_s: float = CLOSE_S) -> None:
        """`name`: of the sink, for warnings."""
        self._sink = sink
        self._name = name
        self._close_s = close_s
        self._rows: queue.Queue[tuple[int, Mapping[str, float]] | None] = queue.Queue(MOST_ROWS)
        self._lost = 0
        # a daemon: a server that never answers keeps no process alive
        self._thread = threading.Thread(target=self._work, name=f"sink-{name}", daemon=True)
        self._thread.start()

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        try:
            self._rows.put_nowait((step, dict(figures)))
        except queue.Full:
            self._lose("too many rows wait")

    def close(self) -> None:
        """Send what waits, within `close_s`, and close the sink."""
        try:
            self._rows.put(None, timeout=self._close_s)
            self._thread.join(self._close_s)
        except queue.Full:
            pass
        if self._thread.is_alive():
            logger.warning(
                "%s: not everything was sent within %g s; metrics.jsonl has all figures",
                self._name,
                self._close_s,
            )

    def _work(self) -> None:
        while (row := self._rows.get()) is not None:
            try:
                self._sink.write(*row)
            # whatever the library raises: a tracker must not fail a run
            except Exception as error:  # noqa: BLE001
                self._lose(f"{type(error).__name__}: {error}")
        try:
            self._sink.close()
        except Exception as error:  # noqa: BLE001
            logger.warning("%s: could not be closed (%s)", self._name, error)

    def _lose(self, why: str) -> None:
        self._lost += 1
        if self._lost & (self._lost - 1) == 0:  # 1, 2, 4, 8, …: a server may be away for long
            logger.warning("%s: %d rows of figures were not sent (%s)", self._name, self._lost, why)
