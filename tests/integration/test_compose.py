"""A job on a cluster whose nodes are containers: `make test-deploy`."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
from commands import sets
from compose_cluster import ComposeCluster
from compose_run import RUN_FILE, SETTINGS

pytestmark = [
    pytest.mark.deploy,
    pytest.mark.docker,
    pytest.mark.long,
    pytest.mark.timeout(1150),
]

POOLS = {"rollout": "rollout", "learner": "learner", "sandbox": "sandbox_node"}

NODES = """
import ray, time
ray.init(log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) != {count}:
    time.sleep(0.5)
print("NODES {count}")
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[ComposeCluster]:
    cluster = ComposeCluster()
    try:
        yield cluster
    finally:
        cluster.close()


def test_a_job_from_outside_uses_each_pools_nodes_and_outlives_one_of_them(cluster: ComposeCluster):
    until_nodes(cluster, 4)
    entry = ["stepcoder", "train", f"/opt/stepcoder/{RUN_FILE}", *sets(SETTINGS)]
    stop = json.dumps({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "120"}})
    how = ["--no-wait", "--submission-id=train", f"--runtime-env-json={stop}"]
    cluster.ray("job", "submit", *how, "--", *entry)
    log = cluster.follow("train")
    try:
        seen = read_to_step(log, 1)
        assert "guests at /guests/*/guest.sock" in seen, seen
        assert places(cluster) == {"rollout": 1, "learner": 1, "sandbox": 1}

        cluster.compose("up", "-d", "--no-recreate", "--scale", "sandbox=2")
        until_nodes(cluster, 5)
        said = cluster.in_head("stepcoder", "scale", "--sandboxes", "2")
        assert "run demo: 1 → 2 sandboxes" in said
        assert places(cluster) == {"rollout": 1, "learner": 1, "sandbox": 2}

        stopped = cluster.containers("sandbox")[1]
        subprocess.run(["docker", "stop", "-t", "10", stopped], check=True, capture_output=True)
        until_nodes(cluster, 4)
        read_to_step(log, step(cluster) + 2)
        subprocess.run(["docker", "start", stopped], check=True, capture_output=True)
        until_nodes(cluster, 5)
        read_to_step(log, 1, until=lambda: places(cluster)["sandbox"] == 2)

        assert "was stopped" in cluster.ray("job", "stop", "train")
        rest, _ = log.communicate(timeout=300)
    finally:
        log.kill()
    assert "stepcoder: stopped by SIGTERM; checkpoint of step" in rest, rest[-3000:]
    assert "is accounted for once" in cluster.in_head("stepcoder", "ledger", "/shared/runs/demo")
    rows = cluster.in_head("cat", "/shared/runs/demo/metrics.jsonl").splitlines()
    numbers = [json.loads(row)["step"] for row in rows if row.startswith("{")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 4


def until_nodes(cluster: ComposeCluster, count: int) -> None:
    """Return when so many nodes live: a job of the cluster's own looks."""
    output = cluster.ray("job", "submit", "--", "python", "-c", NODES.format(count=count))
    assert f"NODES {count}" in output, output[-2000:]


def step(cluster: ComposeCluster) -> int:
    found: int = json.loads(cluster.in_head("stepcoder", "status", "--json"))["step"]
    return found


def read_to_step(
    log: subprocess.Popen[str], number: int, until: Callable[[], bool] = lambda: True
) -> str:
    """Read on to that step's line, and further until the condition holds after one."""
    assert log.stdout is not None
    seen = ""
    for line in log.stdout:
        seen += line
        done = re.match(r"RL: (\d+)/", line)
        if done and int(done[1]) >= number and until():
            return seen
    raise AssertionError(f"the job ended:\n{seen[-4000:]}")


def places(cluster: ComposeCluster) -> dict[str, int]:
    """The nodes that each pool's processes are on; each is a node of the pool's own."""
    resources = {
        node["node_id"]: node["resources_total"] for node in cluster.listed("nodes", "ALIVE")
    }
    found = defaultdict[str, set[str]](set)
    for actor in cluster.listed("actors", "ALIVE"):
        pool = actor["name"].partition("-")[0]
        if pool in POOLS:
            assert POOLS[pool] in resources[actor["node_id"]], actor
            found[pool].add(actor["node_id"])
    return {pool: len(found[pool]) for pool in POOLS}
