"""The sinks that a step's figures go to: each takes one flat object for each step."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from stepcoder_dist.host.files.json_lines import append_rows


class MetricSink(Protocol):
    """Takes figures by the names of `metrics.METRICS`."""

    def write(self, step: int, figures: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """`metrics.jsonl`: one object for each step."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        append_rows(self._path, [{**figures, "step": step}])

    def close(self) -> None:
        pass


class TensorBoard:
    """Scalars for TensorBoard, written without torch."""

    def __init__(self, folder: Path, *, after_step: int = 0) -> None:
        """TensorBoard drops what was written after `after_step`, where the run is resumed."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(folder))
        start = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=time.time(), step=after_step + 1, session_log=start))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in figures.items()]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        self._writer.add_event(event)

    def close(self) -> None:
        self._writer.close()
