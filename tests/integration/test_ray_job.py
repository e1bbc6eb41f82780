"""`ray start --head` and `ray job submit`, as a person does it, with token authentication."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import DEMO, REPOSITORY, SMALL, processes_of_session, sets, shared_memory
from ray_head import Head

pytestmark = [
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
    pytest.mark.timeout(600),
]

RUN_FILE = str(DEMO.relative_to(REPOSITORY))
SETTINGS = SMALL | {"sandbox.backend": "process", "train.steps": 10_000}

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
    assert shared_memory() == before


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


def test_a_job_is_watched_stopped_with_a_checkpoint_and_resumed(head: Head):
    runs = head.home / "stepcoder-runs"
    head.submit("train", "stepcoder", "train", RUN_FILE, *sets(SETTINGS))
    log = head.follow("train")
    assert log.stdout is not None
    seen, names, figures = "", set[str](), dict[str, float]()
    for line in log.stdout:
        seen += line
        if line.startswith("RL: 1/"):
            names = {actor["name"] for actor in head.listed("actors")}
        if line.startswith("RL:"):
            figures = head.metrics()
            if figures.get("ray_stepcoder_step", 0) >= 2:
                break
    assert {"rollout-0", "rollout-1", "sandbox-0", "sandbox-1", "learner-rank-0"} <= names, seen
    assert -1 <= figures["ray_stepcoder_reward"] <= 1
    assert figures["ray_stepcoder_samples_trained"] >= 2 * 16
    assert figures["ray_stepcoder_rollout_tokens_total"] > 0
    assert figures["ray_stepcoder_sandbox_verdicts_total"] > 0
    assert f"runs are kept in {runs}" in seen
    assert "warning: run_dir" not in seen

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


def check_rows(run: Path) -> int:
    """The rows end where the newest checkpoint does; return its step."""
    rows = (run / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(row)["step"] for row in rows]
    assert steps == list(range(1, len(steps) + 1))
    newest = max(path.name for path in (run / "checkpoints").iterdir())
    assert newest == f"step_{len(steps):06d}"
    return len(steps)
