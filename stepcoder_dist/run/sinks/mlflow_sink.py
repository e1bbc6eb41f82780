"""Figures in a run of MLflow, on the server or in the folder that MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import get_tracking_uri, is_tracking_uri_set

from stepcoder_dist.config import RunConfig, keys
from stepcoder_dist.errors import UserError

MOST_PARAMETERS = 100
"""Of one request, by MLflow's rules."""
LONGEST_VALUE = 6000
"""Characters of a parameter, by MLflow's rules."""


class MlflowSink:
    def __init__(self, client: MlflowClient, run_id: str, place: str) -> None:
        self._client = client
        self._run_id = run_id
        self.place = place
        self.finished = False

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        now = time.time_ns() // 1_000_000
        rows = [Metric(name, float(value), now, step) for name, value in figures.items()]
        self._client.log_batch(self._run_id, metrics=rows)

    def close(self) -> None:
        self._client.set_terminated(self._run_id, "FINISHED" if self.finished else "FAILED")


def opened(config: RunConfig, folder: Path, run_id: str | None) -> tuple[MlflowSink, str]:
    """Open the run with an id, or a new one with every key of the run file as a parameter.

    Raises `UserError` where no server is named, or it refuses.
    """
    asked = f'train.mlflow_experiment = "{config.train.mlflow_experiment}"'
    if not is_tracking_uri_set():
        raise UserError(
            f"{asked}: no tracking server is named; set MLFLOW_TRACKING_URI to its address"
        )
    try:
        client = MlflowClient()
        if run_id is None:
            run_id = _begun(client, config, folder.name)
        else:
            client.update_run(run_id, status="RUNNING")
    except MlflowException as error:
        seen = " ".join(str(error).split())
        raise UserError(
            f"{asked}: {get_tracking_uri()} opens no run ({seen}); correct MLFLOW_TRACKING_URI, or "
            "leave the key out"
        ) from None
    return MlflowSink(client, run_id, f"run {run_id} at {get_tracking_uri()}"), run_id


def _begun(client: MlflowClient, config: RunConfig, name: str) -> str:
    title = config.train.mlflow_experiment
    known = client.get_experiment_by_name(title)
    experiment = known.experiment_id if known else client.create_experiment(title)
    run_id: str = client.create_run(experiment, run_name=name).info.run_id
    rows = [
        Param(key, str(value)[:LONGEST_VALUE]) for key, value in sorted(keys.values(config).items())
    ]
    for start in range(0, len(rows), MOST_PARAMETERS):
        client.log_batch(run_id, params=rows[start : start + MOST_PARAMETERS])
    return run_id
