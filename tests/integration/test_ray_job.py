"""`ray start --head` and `ray job submit`, as a person does it, with token authentication."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import (
    DEMO,
    REPOSITORY,
    SMALL,
    left_in_shared_memory,
    processes_of_session,
    sets,
    shared_memory,
)
from prometheus_server import Prometheus
from ray_head import Head

from stepcoder_dist.run import ledger_report

pytestmark = [
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
    pytest.mark.timeout(900),
]

MONITORING = REPOSITORY / "deploy" / "monitoring"
DASHBOARD = MONITORING / "grafana" / "dashboards" / "stepcoder.json"
RUN_FILE = str(DEMO.relative_to(REPOSITORY))
SETTINGS = SMALL | {
    "sandbox.backend": "process",
    "sandbox.resources": "{num_cpus=0.05}",  # room for a third rollout actor on two CPUs
    "train.steps": 10_000,
}

WHICH_TREE = """
import json, os, pathlib, ray, actors, stepcoder_dist
def files():
    return [actors.__file__, stepcoder_dist.__file__]
ray.init(log_to_driver=False)
folder = pathlib.Path.cwd()
print("TREE " + json.dumps({
    "folder": str(folder),
    "driver": files(),
    "worker": ray.get(ray.remote(files).options(runtime_env={"env_vars": {"A": "b"}}).remote()),
    "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    "entries": sorted(path.name for path in folder.iterdir()),
}))
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    before = shared_memory()
    head = Head()
    try:
        yield head
    finally:
        head.close()
    assert processes_of_session(head.process.pid) == []
    assert left_in_shared_memory(before) == set()


def job_log(head: Head, name: str) -> str:
    output, _ = head.follow(name).communicate(timeout=300)
    return output


def test_a_job_without_the_token_is_refused(head: Head):
    for environment in ({"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"}):
        output = head.ray("job", "list", code=None, environment=environment)
        assert "AuthenticationError" in output or "Unauthorized" in output, output[-2000:]
        output = head.ray(
            "job", "submit", "--", "python", "-c", "print('ran')",
            code=None, environment=environment,
        )  # fmt: skip
        assert "ran" not in output.splitlines()
        assert "succeeded" not in output
    assert "SUBMISSION" not in head.ray("job", "list")


def test_the_upload_is_small_and_wins_over_what_is_installed(head: Head):
    # -P: as the `stepcoder` command, whose own folder is on the path instead of the working folder
    head.submit("tree", "python", "-P", "-c", WHICH_TREE)
    log = job_log(head, "tree")
    (line,) = [line for line in log.splitlines() if line.startswith("TREE ")]
    tree = json.loads(line.removeprefix("TREE "))
    assert tree["folder"].startswith(str(head.folder))
    for file in (*tree["driver"], *tree["worker"]):
        assert file.startswith(tree["folder"]), line
    assert tree["bytes"] < 6 * 2**20
    assert {".venv", ".git", "runs", "docs", "tests", "benchmarks"}.isdisjoint(tree["entries"])
    assert {"deploy", "stepcoder_dist"} <= set(tree["entries"])


NOT_IN_THIS_RUN = re.compile(
    "pass_rate_(introductory|interview|competition)|heldout|flat_share|faults|restarts|preemptions"
)
"""The set has other levels, its method knows no groups, and nothing fails."""


def unanswered(prometheus: Prometheus) -> list[str]:
    """The panels' queries that have no samples and should have."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [t["expr"].replace("$run", ".*") for p in panels for t in p.get("targets", [])]
    answers = {query: prometheus.query(query) for query in queries}  # a refused query raises
    return [q for q, answer in answers.items() if not answer and not NOT_IN_THIS_RUN.search(q)]


@pytest.fixture(scope="module")
def prometheus(head: Head) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not installed: Debian has it as a package")
    with Prometheus(head.metrics_address, MONITORING / "alerts.yml") as server:
        yield server


@pytest.mark.prometheus
def test_a_job_is_watched_stopped_with_a_checkpoint_and_resumed(head: Head, prometheus: Prometheus):
    runs = head.home / "stepcoder-runs"
    head.submit("train", "stepcoder", "train", RUN_FILE, *sets(SETTINGS))
    log = head.follow("train")
    assert log.stdout is not None
    seen, names, figures = "", set[tuple[str, str]](), dict[str, float]()
    for line in log.stdout:
        seen += line
        if line.startswith("RL: 1/"):
            # both names, by which Ray calls an actor and its lines
            names = {(actor["name"], actor["repr_name"]) for actor in head.listed("actors")}
        if line.startswith("RL:"):
            figures = head.metrics()
            # rates need two scrapes of a counter
            step = figures.get("ray_stepcoder_step", 0)
            if step >= 2 and (step >= 60 or not unanswered(prometheus)):
                break
    ours = ("rollout-0", "rollout-1", "sandbox-0", "sandbox-1", "learner-rank-0")
    assert {(name, name) for name in ours} <= names, seen
    assert -1 <= figures["ray_stepcoder_reward"] <= 1
    assert figures["ray_stepcoder_samples_trained"] >= 2 * 16
    assert figures["ray_stepcoder_rollout_tokens_total"] > 0
    assert figures["ray_stepcoder_sandbox_verdicts_total"] > 0
    assert f"runs are kept in {runs}" in seen
    assert "warning: run_dir" not in seen

    assert unanswered(prometheus) == [], prometheus.query("up")
    assert set(prometheus.rules().values()) == {"ok"}
    scaled_by_hand(head)

    assert "was stopped" in head.ray("job", "stop", "train")
    rest, _ = log.communicate(timeout=300)
    seen += rest
    assert "SIGTERM: stopping with a checkpoint" in seen, seen[-3000:]
    assert "stepcoder: stopped by SIGTERM; checkpoint of step" in seen, seen[-3000:]
    assert head.listed("actors") == []
    assert head.listed("placement-groups") == []
    processes = processes_of_session(head.process.pid)
    assert not [p for p in processes if "Rollout" in p or "Executor" in p or "Learner" in p]
    assert not [p.name for p in head.temporary.iterdir() if p.name.startswith("stepcoder-")]

    steps = check_rows(runs / "demo")
    # on fewer actors: the pools' sizes may change
    again = SETTINGS | {"train.steps": steps + 1, "actors.number": 1, "sandbox.number": 1}
    head.submit("again", "stepcoder", "train", RUN_FILE, "--resume", *sets(again))
    assert "✓ RL         1/1" in job_log(head, "again")
    assert check_rows(runs / "demo") == steps + 1


def scaled_by_hand(head: Head) -> None:
    """Another shell grows both pools, and shrinks one; it sees how they are."""
    said = head.stepcoder("scale", "--rollouts", "3", "--sandboxes", "3")
    assert "run demo: 2 → 3 rollouts\nrun demo: 2 → 3 sandboxes\n" in said
    status = status_of(head)
    assert status == {"rollouts": ["ready"] * 3, "sandboxes": ["ready"] * 3}
    assert "run demo: 3 → 1 rollouts" in head.stepcoder("scale", "--rollouts", "1")
    said = head.stepcoder("scale", "--run", "demo", "--rollouts", "50", code=1)
    assert "50 rollouts and 3 sandboxes take, with the learner, " in said
    assert "no run other is live" in head.stepcoder("status", "--run", "other", code=2)
    assert status_of(head) == {"rollouts": ["ready"], "sandboxes": ["ready"] * 3}
    assert "rollouts: 1 wanted; 1 ready; " in head.stepcoder("status")


def status_of(head: Head) -> dict[str, list[str]]:
    """The states of each pool's processes; the actors have the weights of the last steps."""
    status = json.loads(head.stepcoder("status", "--json"))
    versions = [member["version"] for member in status["pools"]["rollouts"]["members"]]
    assert all(status["step"] - 1 <= version <= status["step"] + 1 for version in versions)
    assert status["last_step"]["bottleneck"]["text"]
    assert status["learner"]
    now = [member["now"] for pool in status["pools"].values() for member in pool["members"]]
    assert all(re.fullmatch(r"(decoding|judging) \d+|idle|taking weights", each) for each in now)
    return {name: [m["state"] for m in pool["members"]] for name, pool in status["pools"].items()}


def check_rows(run: Path) -> int:
    """The rows end where the newest checkpoint does, and the ledger balances; return the step."""
    account = ledger_report.report(run)
    assert account.balances, account.lines
    rows = (run / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(row)["step"] for row in rows]
    assert steps == list(range(1, len(steps) + 1))
    newest = max(path.name for path in (run / "checkpoints").iterdir())
    assert newest == f"step_{len(steps):06d}"
    check_trace(run)
    return len(steps)


def check_trace(run: Path) -> None:
    """Every trained sample was decoded by an actor and judged once, in any of the jobs."""
    done = subprocess.run(
        [sys.executable, "-m", "stepcoder_dist", "trace", str(run)], capture_output=True, check=True
    )
    assert done.stdout.startswith(f"trace: {run / 'trace.json.gz'} (".encode())
    drawn = json.loads(gzip.decompress((run / "trace.json.gz").read_bytes()))["traceEvents"]
    rows = [json.loads(row) for row in (run / "samples.jsonl").read_text().splitlines()]
    trained = sorted(row["sample_id"] for row in rows)
    for category in ("decoding", "judging"):
        events = [event for event in drawn if event.get("cat") == category]
        samples = (event["args"]["sample"] for event in events)
        assert sorted(sample for sample in samples if sample in set(trained)) == trained
