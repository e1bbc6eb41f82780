"""The Slurm script, with Slurm's and Ray's commands played by small scripts: what starts when."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
SCRIPT = REPOSITORY / "deploy" / "slurm" / "train.sbatch"
DEMO = "deploy/runs/demo.toml"

TOOLS = {
    "srun": 'echo "srun $*" >>"$CALLS"',
    "scontrol": 'echo "scontrol $*" >>"$CALLS"',
    "python3": "echo 127.0.0.1:6379",
}
DRY_RUN = 'case "$*" in *--dry-run*) echo \'name = "demo"\'; echo \'run_dir = ""\'; exit 0;; esac'
TRAIN = f'{DRY_RUN}\necho "stepcoder $*" >>"$CALLS"\n'


class Job:
    """A job of Slurm's, number 7, in folders of a test."""

    def __init__(self, folder: Path) -> None:
        self.runs = folder / "runs"
        self._folder = folder
        (folder / "bin").mkdir()
        for name, body in TOOLS.items():
            self.play(name, body)

    def play(self, name: str, body: str) -> None:
        """Put a command in the place of a real one."""
        tool = self._folder / "bin" / name
        tool.write_text(f"#!/bin/bash\n{body}\n", "utf-8")
        tool.chmod(0o755)

    def start(self, *arguments: str, restarts: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the script as Slurm does on the job's first node, to its end."""
        path = f"{self._folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        slurm = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts)}
        folders = {
            "HOME": str(self._folder),
            "STEPCODER_RUNS": str(self.runs),
            "CALLS": str(self._folder / "calls"),
        }
        return subprocess.run(
            ["bash", str(SCRIPT), *arguments],
            cwd=REPOSITORY,
            env=os.environ | {"PATH": path} | slurm | folders,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        """The commands that were called, in order."""
        calls = self._folder / "calls"
        return calls.read_text("utf-8").splitlines() if calls.exists() else []

    @property
    def trained(self) -> list[str]:
        """How `stepcoder train` was called."""
        return [call for call in self.calls if call.startswith("stepcoder")]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["deploy/runs/demo.tml"], "stepcoder: deploy/runs/demo.tml: no such run file"),
        ([DEMO, "--set", "train.step=3"], "unknown key train.step"),
        ([DEMO, "--set", "model.sft_path=/nowhere"], "SFT checkpoint: /nowhere: absent"),
        ([DEMO, "--set", "problems.train=/no.jsonl"], "problems.train: /no.jsonl: ABSENT"),
    ],
)
def test_a_mistake_ends_the_job_before_a_node_starts_ray(
    job: Job, arguments: list[str], said: str
) -> None:
    ended = job.start(*arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stdout == ""
    assert job.calls == []


def test_a_job_trains_in_a_directory_of_its_own(job: Job) -> None:
    job.play("stepcoder", TRAIN)
    assert job.start(DEMO, "--set", "seed=1").returncode == 0
    assert job.trained == [f"stepcoder train {DEMO} --set seed=1 --set run_dir={job.runs}/demo-7"]


def test_a_job_that_starts_again_resumes_its_own_newest_checkpoint(job: Job) -> None:
    job.play("stepcoder", TRAIN)
    (job.runs / "demo" / "checkpoints" / "step_000090").mkdir(parents=True)
    (job.runs / "demo-7" / "checkpoints" / "step_000010").mkdir(parents=True)
    assert job.start(DEMO, restarts=1).returncode == 0
    assert job.trained == [f"stepcoder train {DEMO} --set run_dir={job.runs}/demo-7 --resume"]


def test_a_job_that_was_lost_before_its_first_checkpoint_begins_anew(job: Job) -> None:
    job.play("stepcoder", TRAIN)
    (job.runs / "demo-7").mkdir(parents=True)
    (job.runs / "demo-7" / "metrics.jsonl").touch()
    assert job.start(DEMO, restarts=1).returncode == 0
    assert job.trained == [f"stepcoder train {DEMO} --set run_dir={job.runs}/demo-7"]
    assert (job.runs / "demo-7-before-restart-1" / "metrics.jsonl").exists()


def test_whoever_asks_to_resume_chooses_the_run(job: Job) -> None:
    job.play("stepcoder", TRAIN)
    assert job.start(DEMO, "--resume", restarts=1).returncode == 0
    assert job.trained == [f"stepcoder train {DEMO} --resume"]


def test_a_job_whose_time_is_over_cleans_up_and_then_goes_back_into_the_queue(job: Job) -> None:
    job.play("stepcoder", f"{TRAIN}trap 'exit 143' TERM\nkill -USR1 $PPID\nwhile :; do :; done")
    ended = job.start(DEMO)
    assert ended.returncode != 0  # bash may lose the status of what ends as a trap runs
    assert "job 7: its time is over" in ended.stdout
    assert job.calls[-2:] == [
        "srun --het-group=2 --kill-on-bad-exit=0 rm -rf /tmp/stepcoder-ray-7",
        "scontrol requeue 7",
    ]


def test_a_time_limit_that_leaves_no_time_to_train_is_said(job: Job) -> None:
    job.play("stepcoder", TRAIN)
    job.play("python3", '[ "$1" = - ] && kill -USR1 $PPID\necho 127.0.0.1:6379')
    ended = job.start(DEMO)
    assert ended.returncode == 1
    assert "job 7: SIGUSR1 came before the run began; give a longer --time" in ended.stderr
    assert job.trained == []
