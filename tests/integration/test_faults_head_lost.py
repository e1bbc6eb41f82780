"""The head of the Ray cluster is killed under a job: it ends, and a new head resumes it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from commands import (
    DEMO,
    REPOSITORY,
    SMALL,
    finish,
    pids_of_session,
    processes_of_session,
    read_until,
    sets,
    stepcoder,
)
from ray_head import Head, running, with_containers
from test_faults_driver_lost import containers_of

from stepcoder_dist.errors import RunError
from stepcoder_dist.run import ledger_report

pytestmark = [
    pytest.mark.faults,
    pytest.mark.long,  # make test-faults
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
    pytest.mark.docker,
    pytest.mark.timeout(900),
]

STEPS = 500
"""More than there are before the head is lost."""
RUN_FILE = str(DEMO.relative_to(REPOSITORY))
LIMITS = {"RAY_gcs_rpc_server_reconnect_timeout_s": "20"}
SAID = re.compile(
    r"^stepcoder: the head of the Ray cluster at \S+ has been away for 15 s, and the command ends "
    r"with it; start a head, then the command again \(a run with --resume\)$",
    re.MULTILINE,
)


@pytest.fixture(autouse=True)
def nothing_in_shared_memory() -> Iterator[None]:
    with with_containers():
        yield


def settings(folder: Path, staleness: int) -> dict[str, object]:
    return {
        "run_dir": folder / "run",
        "model.sft_path": folder / "sft",
        "sandbox.backend": "docker",
        "train.max_staleness": staleness,
        "train.steps": STEPS,
        "train.checkpoint_every": 1,
    }


def kill_head(head: Head) -> None:
    """Kill Ray's own processes of the head; those of the run see it and have to end."""
    executors = pids_of_session(head.process.pid, "ExecutorActor")
    assert containers_of(executors), "they judge in containers"
    for pid in head.own_pids():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 120
    while left := processes_of_session(head.process.pid):
        assert time.monotonic() < deadline, left
    assert containers_of(executors) == set()


def drivers_of(run: Path) -> list[int]:
    """Processes of `stepcoder` commands on a run."""
    processes = psutil.process_iter(["cmdline"])
    mark = f"run_dir={run}"
    return [each.pid for each in processes if mark in " ".join(each.info["cmdline"] or ())]


def check(run: Path, steps: int) -> None:
    """The ledger balances, and every step was trained once."""
    account = ledger_report.report(run)
    assert account.balances, account.lines
    assert account.lines[0] == f"run run: {steps} steps, 1 resumptions"
    rows = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == list(range(1, steps + 1))


def test_a_driver_ends_with_one_line_when_the_head_is_killed_and_is_resumed_at_another(
    tmp_path: Path,
):
    of_run = settings(tmp_path, staleness=2)
    with running(**LIMITS) as head:
        environment = head.environment | {"RAY_ADDRESS": head.cluster}
        finish(stepcoder("sft", changes=of_run, environment=environment))
        driver = stepcoder("train", changes=of_run, environment=environment)
        read_until(driver, lambda line: line.startswith(f"RL: 2/{STEPS}"))
        kill_head(head)
        output = finish(driver, RunError.exit_code)
        assert SAID.search(output), output
        assert output.count("stepcoder: ") == 1, output
        assert processes_of_session(driver.pid) == []
    steps = max(int(path.name[-6:]) for path in (tmp_path / "run/checkpoints").iterdir()) + 2
    with running(**LIMITS) as head:
        environment = head.environment | {"RAY_ADDRESS": head.cluster}
        of_run |= {"train.steps": steps}
        finish(stepcoder("train", "--resume", changes=of_run, environment=environment))
    check(tmp_path / "run", steps)


def test_a_job_ends_with_the_head_that_it_was_submitted_to_and_is_resumed_at_another(
    tmp_path: Path,
):
    of_run = SMALL | settings(tmp_path, staleness=0)
    with running(**LIMITS) as head:
        environment = head.environment | {"RAY_ADDRESS": head.cluster}
        finish(stepcoder("sft", changes=of_run, environment=environment))
        head.submit("train", "stepcoder", "train", RUN_FILE, *sets(of_run))
        log = head.follow("train")
        read_until(log, lambda line: line.startswith(f"RL: 2/{STEPS}"))
        assert drivers_of(tmp_path / "run")
        kill_head(head)
        log.communicate()
        deadline = time.monotonic() + 60
        while drivers_of(tmp_path / "run"):
            assert time.monotonic() < deadline
        (kept,) = head.folder.glob("ray/session_2*/logs/job-driver-train.log")
        assert "Traceback" not in kept.read_text()
    steps = max(int(path.name[-6:]) for path in (tmp_path / "run/checkpoints").iterdir()) + 2
    with running(**LIMITS) as head:
        of_run |= {"train.steps": steps}
        head.submit("again", "stepcoder", "train", RUN_FILE, "--resume", *sets(of_run))
        output, _ = head.follow("again").communicate(timeout=300)
        assert "✓ RL         2/2" in output, output
    check(tmp_path / "run", steps)
