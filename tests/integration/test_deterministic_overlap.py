"""`deterministic = true` with staleness 1: rollouts and learner overlap, equal to the bit.

Two runs of one file, and one that is interrupted and resumed, with every real component.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import finish, read_until
from test_resume import Place, checkpoints, rows, tensors, with_warm_start

from stepcoder_dist.loop.metrics import OF_THE_MOMENT, WALL_CLOCK

pytestmark = [
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
    pytest.mark.timeout(900),
]

STEPS = 6
LAGGING = {
    "deterministic": "true",
    "train.max_staleness": 1,
    "train.steps": STEPS,
    "train.checkpoint_every": 4,
    "actors.number": 2,
    "actors.resources.num_cpus": 0.5,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return with_warm_start(tmp_path_factory, "lag")


def start(place: Place, name: str, *arguments: str) -> Any:
    changes = {key.replace(".", "__"): value for key, value in LAGGING.items()}
    return place.start("train", *arguments, run_dir=place.folder / name, **changes)


@pytest.fixture(scope="module")
def whole(place: Place) -> Path:
    finish(start(place, "whole"))
    return place.folder / "whole"


def figures(run: Path) -> list[dict[str, Any]]:
    left_out = WALL_CLOCK | OF_THE_MOMENT
    return [
        {name: value for name, value in row.items() if name not in left_out}
        for row in rows(run / "metrics.jsonl")
    ]


def assert_equal(run: Path, whole: Path) -> None:
    assert figures(run) == figures(whole)
    assert (run / "samples.jsonl").read_text() == (whole / "samples.jsonl").read_text()
    last = f"checkpoints/step_{STEPS:06d}"
    a, b = tensors(run / last / "learner"), tensors(whole / last / "learner")
    assert a.keys() == b.keys()
    assert any("exp_avg_sq" in name for name in a)
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    states = [json.loads((folder / last / "run.json").read_text()) for folder in (run, whole)]
    for state in states:
        del state["config"]["run_dir"]
    assert states[0] == states[1]


def test_every_step_is_sampled_one_version_behind_and_the_policy_learns_something(
    whole: Path,
) -> None:
    for row in rows(whole / "samples.jsonl"):
        version = max(0, row["step"] - 2)
        assert row["weights"] == [version, version]
    assert [row["staleness"] for row in rows(whole / "metrics.jsonl")] == [0.0, *[1.0] * 5]
    assert any(row["policy_loss"] != 0 for row in rows(whole / "metrics.jsonl"))


def test_a_second_run_is_equal_to_the_bit(place: Place, whole: Path) -> None:
    finish(start(place, "again"))
    assert_equal(place.folder / "again", whole)


def test_a_run_that_is_interrupted_is_equal_after_its_resumption(place: Place, whole: Path) -> None:
    run = place.folder / "parts"
    process = start(place, "parts")
    read_until(process, lambda line: line.startswith(f"RL: 1/{STEPS}"))
    os.kill(process.pid, signal.SIGTERM)
    assert "checkpoint of step" in finish(process, 128 + signal.SIGTERM)
    (stopped,) = checkpoints(run)
    ahead = json.loads((run / "checkpoints" / stopped / "ahead.json").read_text())
    made = int(stopped.removeprefix("step_"))
    assert {row["ticket"]["planned_step"] for row in ahead} == {made}, "of the next step"

    finish(start(place, "parts", "--resume"))
    assert_equal(run, whole)
