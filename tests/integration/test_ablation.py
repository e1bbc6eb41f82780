"""`stepcoder ablate` with every real component: two cells, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import REPOSITORY, finish, processes_of_session

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.deepspeed, pytest.mark.timeout(400)]

ABLATION = f"""
name = "small"
run = "{REPOSITORY}/deploy/runs/ablation-base.toml"
seeds = [3]
eval_every = 1

[[settings]]
name = "few"
set = [
  "model.sft_path={REPOSITORY}/deploy/models/ladder-sft",
  "problems.train=ladder:train?conditionals=2&count=8&kinds=if,if-else&calls=0&unreached=1",
  "problems.heldout=ladder:heldout?conditionals=1-2&count=12&kinds=if,if-else&calls=0&tests=40",
  "sandbox.backend=process",
  "sandbox.number=1",
  "actors.number=1",
  "sampling.samples_per_problem=4",
  "sampling.max_new_tokens=96",
  "learner.samples_per_step=16",
  "learner.minibatch_samples=8",
  "learner.critic_warmup_steps=0",
  "train.steps=2",
  "evaluation.samples_per_problem=2",
]
weak_tests = "ladder:heldout?conditionals=1-2&count=12&kinds=if,if-else&calls=0&tests=1&thorough=0"

[[arms]]
name = "stepcoder"
"""


def ablate(folder: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "stepcoder_dist", "ablate", "small.toml", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=os.environ | {"RAY_ADDRESS": "", "PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
    )
    return process, finish(process)


def test_cells_are_measured_once_kept_and_put_on_a_page(tmp_path: Path):
    (tmp_path / "small.toml").write_text(ABLATION)
    process, output = ablate(tmp_path)
    assert processes_of_session(process.pid) == []
    assert "few / sft: pass@1" in output
    assert "few / stepcoder / seed 3: pass@1" in output

    results = tmp_path / "docs/results/small"
    trained = json.loads((results / "few/stepcoder-seed3.json").read_text())
    untrained = json.loads((results / "few/sft.json").read_text())
    assert [e["step"] for e in untrained["measured"]["evaluations"]] == [0]
    evaluations = trained["measured"]["evaluations"]
    assert [(e["step"], e["samples"]) for e in evaluations] == [(1, 16), (2, 32)]
    for each in (*evaluations, *untrained["measured"]["evaluations"]):
        assert len(each["passed"]) == len(each["passed_weak"]) == 12
        assert sum(each["outcomes"].values()) == 24  # two programs a problem
        # one test sees less than every input does
        assert sum(each["passed_weak"]) >= sum(each["passed"])
    assert trained["measured"]["curve"]["samples"] == [16, 32]
    assert trained["made_on"]["wall_s"] > 0
    assert not list((tmp_path / "runs").rglob("checkpoints"))

    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    _, again = ablate(tmp_path)
    assert "2 of 2 measured before" in again
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before
    assert "| stepcoder | 1 |" in (results / "tables.md").read_text()
