"""Processes of a real run hang or are killed: it trains on, and the ledger balances."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import finish, pids_of_session, processes_of_session, read_until, stepcoder

from stepcoder_dist.run import ledger_report

pytestmark = [
    pytest.mark.faults,
    pytest.mark.long,  # make test-faults
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
    pytest.mark.timeout(900),
]

STEPS = 7
SETTINGS = {
    "sandbox.backend": "process",
    "actors.number": 2,
    "actors.silence_s": 20,
    "sandbox.number": 2,
    "sandbox.silence_s": 20,
    "learner.silence_s": 60,
    "train.steps": STEPS,
    "train.checkpoint_every": 1,
}


@pytest.fixture(scope="module")
def sft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SFT checkpoint of a model of two layers."""
    path = tmp_path_factory.mktemp("faults") / "sft"
    finish(stepcoder("sft", changes={"model.sft_path": path}))
    return path


def until_step(process: subprocess.Popen[str], step: int, of: int = STEPS) -> str:
    return read_until(process, lambda line: line.startswith(f"RL: {step}/{of}"))


def send(process: subprocess.Popen[str], actor: str, by: signal.Signals, number: int = 1) -> None:
    """Send a signal to so many processes of a class of Ray actors of a command."""
    for pid in pids_of_session(process.pid, actor)[:number]:
        os.kill(pid, by)


def wait_for_the_end_of_all(session: int) -> None:
    """Ray's processes end a moment after the driver of which they are."""
    deadline = time.monotonic() + 120
    while left := processes_of_session(session):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


@pytest.mark.parametrize("staleness", [0, 2], ids=["in turns", "2 steps ahead"])
def test_a_run_outlives_hung_actors_hung_executors_a_dead_rank_and_a_dead_driver(
    staleness: int, sft: Path, tmp_path: Path
):
    run = tmp_path / "run"
    settings = SETTINGS | {
        "run_dir": run,
        "model.sft_path": sft,
        "train.max_staleness": staleness,
    }
    process = stepcoder("train", changes=settings)
    seen = until_step(process, 1)
    send(process, "RolloutActor", signal.SIGSTOP)
    seen += until_step(process, 2)
    send(process, "ExecutorActor", signal.SIGSTOP, number=2)  # one alone may have nothing to do
    seen += until_step(process, 3)
    send(process, "LearnerRank", signal.SIGKILL)
    seen += read_until(process, lambda line: "starting the learner again in" in line)
    assert "from the checkpoint of step" in seen
    assert "(restart 1 of 3)" in seen
    seen += read_until(process, lambda line: line.startswith("RL: 2/"))
    process.kill()  # the driver alone
    process.communicate()
    for name in ("rollout", "sandbox"):
        assert f"{name}-0 has not answered" in seen or f"{name}-1 has not answered" in seen, seen
    wait_for_the_end_of_all(process.pid)

    newest = max(int(path.name[-6:]) for path in (run / "checkpoints").glob("step_*"))
    again = stepcoder("train", "--resume", changes=settings)
    read_until(again, lambda line: line.startswith(f"RL: 0/{STEPS - newest}"))
    finish(again)
    assert processes_of_session(again.pid) == []
    account = ledger_report.report(run)
    assert account.balances, account.lines
    assert account.lines[0] == f"run run: {STEPS} steps, 2 resumptions"
    steps = [json.loads(row)["step"] for row in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))
