"""What `--dry-run` says of files and memory, on a machine with neither model nor GPU."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from shipped_files import RUN_FILES

from stepcoder_dist.config import RunConfig
from stepcoder_dist.doctor import dry_run
from stepcoder_dist.errors import ProblemError
from stepcoder_dist.run.run_file import load

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def nothing_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.name)
def test_every_shipped_run_file_is_described_without_a_gpu_or_its_model(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stepcoder_dist", "train", str(path), "--dry-run"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert RunConfig.model_validate(tomllib.loads(done.stdout)) == load(path)
    assert "parameters (" in done.stdout
    assert "unknown" not in done.stdout
    assert "DOES NOT FIT" not in done.stdout


def test_a_run_file_whose_problems_are_absent_is_described_and_not_run(tmp_path: Path) -> None:
    absent = f"problems.train={tmp_path / 'none.jsonl'}"
    report = dry_run.report(load(ROOT / "deploy/runs/one_gpu.toml", [absent]))
    assert f"# problems.train: {tmp_path}/none.jsonl: ABSENT" in report.replace("#   ", "# ")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "stepcoder_dist"),
            *("train", "deploy/runs/one_gpu.toml", "--set", absent),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "none.jsonl: no such file" in done.stderr


def test_a_model_of_unknown_size_is_said_to_be_unknown(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'name = "x"\n[model]\npath = "some/model"\n[problems]\ntrain = "t"\nheldout = "h"\n'
    )
    (line,) = dry_run.memory(load(path))
    assert line.startswith("unknown: neither config.json of some/model nor [model.shape]")


def test_a_gpu_that_is_too_small_is_said_to_be() -> None:
    lines = dry_run.memory(load(ROOT / "deploy/runs/one_gpu.toml", ["gpu_memory_gib=12"]))
    assert any(line.startswith("DOES NOT FIT: a step of the learner") for line in lines)
    assert "fits" not in lines


def test_a_dry_run_refuses_a_ladder_that_makes_no_problem() -> None:
    config = load(ROOT / "deploy/runs/demo.toml", ["problems.train=ladder:nope"])
    with pytest.raises(ProblemError, match="no split 'nope'"):
        dry_run.report(config)
