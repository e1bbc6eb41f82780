"""A run with staleness and `on_update = "continue"`, with every real component."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import EASY, finish, stepcoder

from stepcoder_dist.cli import commands as cli

pytestmark = [
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
    pytest.mark.timeout(900),
]

STEPS, STALENESS = 6, 2
FEW = f"ladder:train?conditionals=2&count=4&{EASY}"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_no_sample_is_older_than_the_bound_when_it_is_trained_and_the_ledger_balances(
    tmp_path: Path,
) -> None:
    settings: dict[str, object] = {
        "model.sft_path": tmp_path / "sft",
        "sandbox.backend": "process",
        "problems.sft": FEW,
        "problems.train": FEW,
        "sft.phases": "[{ steps = 40, learning_rate = 4e-3, warmup_steps = 10 }]",
    }
    finish(stepcoder("sft", changes=settings))
    settings |= {
        "run_dir": tmp_path / "run",
        "train.steps": STEPS,
        "train.max_staleness": STALENESS,
        "weights.on_update": '"continue"',
        "actors.max_batch": 8,
    }
    finish(stepcoder("train", changes=settings))
    trained = rows(tmp_path / "run" / "samples.jsonl")
    for row in trained:
        oldest, newest = row["weights"]
        assert row["step"] - 1 - STALENESS <= oldest <= newest <= row["step"] - 1
    assert any(row["weights"][0] < row["step"] - 1 for row in trained), "nothing was ever ahead"
    figures = rows(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in figures] == list(range(1, STEPS + 1))
    assert any(row["policy_loss"] != 0 for row in figures)
    assert cli.run(["ledger", str(tmp_path / "run")]) == 0
