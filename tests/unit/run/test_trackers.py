"""Weights & Biases and MLflow as sinks: the real libraries, without a network."""

from __future__ import annotations

import json
import logging
import struct
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from runs_for_tests import config

from stepcoder_dist.cli import missing_extra
from stepcoder_dist.errors import UserError
from stepcoder_dist.run.run_folder import RunFolder
from stepcoder_dist.run.sinks import trackers
from stepcoder_dist.run.sinks.background_sink import BackgroundSink


def test_a_run_that_asks_for_no_tracker_gets_none_and_no_file(tmp_path: Path):
    with trackers.opened(config(), tmp_path, pytest.fail) as sinks:
        assert sinks == []
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def mlflow_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    return tmp_path


def test_mlflow_has_the_figures_and_the_run_file_and_a_resumption_continues_its_run(
    mlflow_folder: Path,
):
    from mlflow import MlflowClient

    asked, run, notes = config(mlflow_experiment="clamp"), mlflow_folder / "demo", []
    run.mkdir()

    def lost_after_two_steps() -> None:
        with trackers.opened(asked, run, notes.append) as (sink,):
            sink.write(1, {"reward": 0.25, "outcomes/passed": 3})
            sink.write(2, {"reward": 0.5})
            raise KeyError("rank 0")

    with pytest.raises(KeyError, match="rank 0"):
        lost_after_two_steps()
    run_id = json.loads((run / "trackers.json").read_text())["mlflow"]
    client = MlflowClient()
    assert client.get_run(run_id).info.status == "FAILED"
    with trackers.opened(asked, run, notes.append) as (sink,):
        sink.write(2, {"reward": 0.75})

    (experiment,) = client.search_experiments(filter_string="name = 'clamp'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_id, found.info.run_name) == (run_id, "demo")
    assert found.info.status == "FINISHED"
    history = client.get_metric_history(run_id, "reward")
    assert sorted((each.step, each.value) for each in history) == [(1, 0.25), (2, 0.5), (2, 0.75)]
    assert found.data.metrics["outcomes/passed"] == 3
    assert found.data.params["sampling.samples_per_problem"] == "2"
    assert notes == [f"mlflow: run {run_id} at {(mlflow_folder / 'mlruns').as_uri()}"] * 2


def test_mlflow_without_a_server_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with (
        pytest.raises(UserError, match="set MLFLOW_TRACKING_URI") as caught,
        trackers.opened(config(mlflow_experiment="clamp"), tmp_path, pytest.fail),
    ):
        pass
    assert str(caught.value).count("\n") == 0


def test_wandb_has_the_figures_and_a_resumption_continues_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    asked, run, notes = config(wandb_project="clamp"), tmp_path / "demo", []
    run.mkdir()
    for rows in ([(1, 0.25), (2, 0.5)], [(2, 0.75)]):
        with trackers.opened(asked, run, notes.append) as (sink,):
            for step, reward in rows:
                sink.write(step, {"reward": reward})
    run_id = json.loads((run / "trackers.json").read_text())["wandb"]
    files = sorted((run / "wandb").glob(f"offline-run-*/run-{run_id}.wandb"))
    assert len(files) == len(list((run / "wandb").glob("offline-run-*"))) == 2
    assert all("offline" in note for note in notes)
    written = [written_to(file) for file in files]
    assert [each["reward"] for each in written] == [[0.25, 0.5], [0.75]]
    assert [each["step"] for each in written] == [[1, 2], [2]]


def written_to(file: Path) -> dict[str, list[Any]]:
    """The history in a file of W&B: protobuf records in the framing of LevelDB's log.

    https://github.com/google/leveldb/blob/main/doc/log_format.md
    """
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, found = file.read_bytes(), 7, defaultdict(list)
    while place + 7 <= len(content):
        _, length, kind = struct.unpack_from("<IHB", content, place)
        assert kind == 1  # complete in one block
        record = Record.FromString(content[place + 7 : place + 7 + length])
        place += 7 + length
        for item in record.history.item:
            found[item.key or ".".join(item.nested_key)].append(json.loads(item.value_json))
    return found


@pytest.mark.parametrize("package", ["wandb", "mlflow"])
def test_a_library_that_is_missing_is_named_with_its_extra(package: str):
    line = missing_extra.message(ModuleNotFoundError(name=package))
    assert line is not None
    assert f"pip install 'stepcoder-dist[{package}]'" in line


class Away:
    """A server that refuses rows of odd steps, or all until `answers` is set."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.closed = False
        self.answers = threading.Event()
        self.answers.set()

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        del figures
        assert self.answers.wait(20)
        if step % 2:
            raise ConnectionError("no route")
        self.rows.append(step)

    def close(self) -> None:
        self.closed = True


def test_a_row_that_cannot_be_sent_is_a_warning_and_the_next_ones_are_sent(
    caplog: pytest.LogCaptureFixture,
):
    server = Away()
    sink = BackgroundSink(server, "mlflow")
    for step in range(6):
        sink.write(step, {})
    sink.close()
    assert (server.rows, server.closed) == ([0, 2, 4], True)
    assert [record.getMessage() for record in caplog.records] == [
        "mlflow: 1 rows of figures were not sent (ConnectionError: no route)",
        "mlflow: 2 rows of figures were not sent (ConnectionError: no route)",
    ]


def test_a_server_that_does_not_answer_holds_up_neither_a_step_nor_the_end(
    caplog: pytest.LogCaptureFixture,
):
    server = Away()
    server.answers.clear()
    sink = BackgroundSink(server, "wandb", close_s=0.05)
    sink.write(0, {})
    with caplog.at_level(logging.WARNING):
        sink.close()
    assert "not everything was sent" in caplog.text
    server.answers.set()


def test_a_new_run_in_the_folder_of_an_attempt_does_not_take_its_trackers(tmp_path: Path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "trackers.json").write_text('{"wandb": "of the attempt"}')
    RunFolder.fresh(config().model_copy(update={"run_dir": str(run)})).close()
    assert not (run / "trackers.json").exists()
