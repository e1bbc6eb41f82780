"""The driver of a run on a cluster is killed: nothing of it stays, and `--resume` continues."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from commands import (
    finish,
    pids_of_session,
    read_until,
    stepcoder,
)
from ray_head import Head, running, with_containers

from sandbox.containers.container import connect
from sandbox.containers.orphans import OWNER_LABEL, RUN_LABEL
from stepcoder_dist.run import ledger_report

pytestmark = [
    pytest.mark.faults,
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
    pytest.mark.docker,
    pytest.mark.timeout(900),
]

STEPS = 5


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with with_containers(), running() as head:
        yield head


def containers_of(pids: list[int]) -> set[str]:
    """Names of the containers that these processes started."""
    with closing(connect()) as client:
        found = client.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)
        owners = ((c.name, c.labels[OWNER_LABEL].rsplit(":", 2)[1]) for c in found)
        return {name for name, owner in owners if int(owner) in pids}


def test_a_killed_driver_leaves_no_actor_no_group_and_no_container_and_is_resumed(
    head: Head, tmp_path: Path
):
    run = tmp_path / "run"
    settings = {
        "run_dir": run,
        "model.sft_path": tmp_path / "sft",
        "sandbox.backend": "docker",
        "train.steps": STEPS,
        "train.checkpoint_every": 1,
    }
    environment = head.environment | {"RAY_ADDRESS": head.cluster}
    finish(stepcoder("sft", changes=settings, environment=environment))
    driver = stepcoder("train", changes=settings, environment=environment)
    read_until(driver, lambda line: line.startswith(f"RL: 2/{STEPS}"))
    executors = pids_of_session(head.process.pid, "ExecutorActor")
    containers = containers_of(executors)
    assert containers, "they judge in containers"
    driver.kill()
    driver.communicate()

    deadline = time.monotonic() + 120
    while head.listed("actors") or head.listed("placement-groups") or containers_of(executors):
        assert time.monotonic() < deadline
    newest = max(int(path.name[-6:]) for path in (run / "checkpoints").glob("step_*"))
    assert newest >= 1
    again = stepcoder("train", "--resume", changes=settings, environment=environment)
    read_until(again, lambda line: line.startswith(f"RL: 0/{STEPS - newest}"))
    finish(again)
    assert head.listed("actors") == []
    account = ledger_report.report(run)
    assert account.balances, account.lines
    assert account.lines[0] == f"run run: {STEPS} steps, 1 resumptions"
    steps = [json.loads(row)["step"] for row in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))
