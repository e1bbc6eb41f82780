"""Weights & Biases and MLflow, where a run file asks for them.

A tracker has a run of its own for each run of ours, over any number of resumptions: `trackers.json`
in the run directory has their ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from stepcoder_dist.config import RunConfig
from stepcoder_dist.host.files import atomic_file, json_file
from stepcoder_dist.run.sinks.background_sink import BackgroundSink
from stepcoder_dist.run.sinks.metric_sinks import MetricSink

NAME = "trackers.json"


class Tracker(MetricSink, Protocol):
    """A sink outside of the run directory."""

    place: str
    """Where the figures can be seen."""
    finished: bool
    """What `close` reports: the run did all that it was asked for."""


@contextmanager
def opened(
    config: RunConfig, folder: Path, note: Callable[[str], None]
) -> Iterator[list[MetricSink]]:
    """Open the trackers that a run asks for; `note` gets a line for each.

    Raises `UserError` where one does not open, `ModuleNotFoundError` without its library.
    """
    sinks: list[MetricSink] = []
    trackers: list[Tracker] = []
    try:
        for name, make in _asked(config).items():
            known = json_file.read_object(folder / NAME)
            tracker, run_id = make(config, folder, known.get(name))
            if run_id != known.get(name):
                atomic_file.write_text(folder / NAME, json.dumps({**known, name: run_id}) + "\n")
            note(f"{name}: {tracker.place}")
            trackers.append(tracker)
            sinks.append(BackgroundSink(tracker, name))
        yield sinks
        for tracker in trackers:
            tracker.finished = True
    finally:
        for sink in sinks:
            sink.close()


Make = Callable[[RunConfig, Path, str | None], tuple[Tracker, str]]
"""Opens a tracker's run: that with an id, or a new one. Returns it with its id."""


def _asked(config: RunConfig) -> Mapping[str, Make]:
    """Return how to open each tracker that is asked for; their libraries are imported here."""
    asked: dict[str, Make] = {}
    if config.train.wandb_project:
        from stepcoder_dist.run.sinks import wandb_sink

        asked["wandb"] = wandb_sink.opened
    if config.train.mlflow_experiment:
        from stepcoder_dist.run.sinks import mlflow_sink

        asked["mlflow"] = mlflow_sink.opened
    return asked
