"""A node of a pool is lost while it works, and comes back: the run trains on, its pool grows."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import (
    finish,
    kill_session,
    pids_of_session,
    read_until,
    stepcoder,
)
from ray_head import Head, running, with_containers

from stepcoder_dist.run import ledger_report

pytestmark = [
    pytest.mark.faults,
    pytest.mark.long,  # make test-faults
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
    pytest.mark.docker,
    pytest.mark.timeout(1800),
]

STEPS = 10_000
"""It is stopped when all has been seen."""
POOLS = {"rollouts": "RolloutActor.sample", "sandboxes": "ExecutorActor.judge"}
"""A resource of each pool, by which its second process is on a node of its own, and its work."""


@pytest.fixture
def head() -> Iterator[Head]:
    with with_containers(), running(resources=dict.fromkeys(POOLS, 1)) as head:
        yield head


def lose(node: subprocess.Popen[str], work: str) -> None:
    """Kill all of a node while its process of the pool works."""
    (worker,) = pids_of_session(node.pid, work.partition(".")[0])
    title = Path(f"/proc/{worker}/cmdline")
    deadline = time.monotonic() + 120
    while work not in title.read_text():  # Ray names what a process does
        assert time.monotonic() < deadline
    kill_session(node.pid)
    node.communicate()


def ready(head: Head, pool: str) -> int:
    status = json.loads(head.stepcoder("status", "--json"))
    return [member["state"] for member in status["pools"][pool]["members"]].count("ready")


def wait_until_ready(head: Head, pool: str, number: int) -> None:
    deadline = time.monotonic() + 180
    while ready(head, pool) != number:
        assert time.monotonic() < deadline, head.stepcoder("status")


@pytest.mark.parametrize("staleness", [0, 2], ids=["in turns", "2 steps ahead"])
def test_a_run_trains_on_while_a_node_of_a_pool_is_away_and_its_pool_grows_when_it_is_back(
    staleness: int, head: Head, tmp_path: Path
):
    nodes = {pool: head.another_node({pool: 1}) for pool in POOLS}
    run = tmp_path / "run"
    settings = {
        "run_dir": run,
        "model.sft_path": tmp_path / "sft",
        "actors.number": 2,
        "actors.resources": "{ num_cpus = 0.25, custom = { rollouts = 1 } }",
        "sandbox.backend": "docker",
        "sandbox.number": 2,
        "sandbox.resources": "{ num_cpus = 0.25, custom = { sandboxes = 1 } }",
        "train.max_staleness": staleness,
        "train.steps": STEPS,
    }
    environment = head.environment | {"RAY_ADDRESS": head.cluster}
    finish(stepcoder("sft", changes=settings, environment=environment))
    driver = stepcoder("train", changes=settings, environment=environment)
    step = 2
    seen = read_until(driver, lambda line: line.startswith(f"RL: {step}/"))
    for pool, work in POOLS.items():
        assert ready(head, pool) == 2
        lose(nodes[pool], work)
        step = trained_steps(run) + 3
        seen += read_until(driver, lambda line, to=f"RL: {step}/": line.startswith(to))
        assert ready(head, pool) == 1
        nodes[pool] = head.another_node({pool: 1})
        wait_until_ready(head, pool, 2)
        step = trained_steps(run) + 2
        seen += read_until(driver, lambda line, to=f"RL: {step}/": line.startswith(to))
    driver.send_signal(signal.SIGTERM)
    seen += finish(driver, 128 + signal.SIGTERM)
    assert re.search(r"^rollout-\d is lost; starting it again", seen, re.MULTILINE), seen
    assert re.search(r"^sandbox-\d is lost and replaced", seen, re.MULTILINE), seen
    account = ledger_report.report(run)
    assert account.balances, account.lines
    assert "        0 infrastructure error" in account.lines, "what the node had was done by others"


def trained_steps(run: Path) -> int:
    return len((run / "metrics.jsonl").read_text().splitlines())
