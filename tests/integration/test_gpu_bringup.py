"""Every part of benchmarks/gpu_bringup.py runs: small shapes, on whatever device there is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")
pytestmark = pytest.mark.deepspeed

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PARTS = ("join", "parity", "memory", "speed", "logprobs", "transfer", "offload", "checkpoint")


def test_every_part_measures_and_the_step_is_the_same_at_every_stage() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu_parts.py"), *PARTS, "--tiny"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert {line["part"] for line in lines} == set(PARTS)
    (joined,) = (line for line in lines if "compiled" in line)
    assert (joined["compiled"], joined["nvcc"]) == ([], None)
    (worst,) = (line["worst_differences"] for line in lines if "worst_differences" in line)
    assert worst["policy_loss"] < 1e-4
    assert worst["grad_norm_policy"] < 1e-3
    assert [line["bitwise"] for line in lines if "bitwise" in line] == [True]


def test_a_part_that_hangs_or_fails_costs_its_share_and_is_named(tmp_path: Path) -> None:
    out = tmp_path / "bringup.jsonl"
    command = [sys.executable, str(BENCHMARKS / "gpu_bringup.py"), "--tiny", "--only", "offload"]
    done = subprocess.run(
        [*command, "--seconds", "0.1", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    (line,) = map(json.loads, out.read_text().splitlines())
    assert (line["part"], line["ended"]) == ("offload", "out of time")
