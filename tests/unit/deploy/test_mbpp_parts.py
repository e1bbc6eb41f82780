"""deploy/data/mbpp.py and the run file of a real model: what `make demo-real` begins with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from stepcoder_dist.run.run_file import load

REPOSITORY = Path(__file__).parents[3]
PROGRAM = REPOSITORY / "deploy" / "data" / "mbpp.py"


def run(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, "--source", source, "--out", out],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def write_rows(file: Path, ids: range) -> Path:
    rows = ({"task_id": i, "text": "t", "code": "c\r\n", "test_list": ["assert c"]} for i in ids)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def ids(file: Path) -> list[int]:
    return [json.loads(line)["task_id"] for line in file.read_text().splitlines()]


def test_mbpp_is_parted_by_its_papers_task_ids_and_what_is_there_stays(tmp_path: Path):
    source, out = write_rows(tmp_path / "mbpp.jsonl", range(1, 975)), tmp_path / "mbpp"
    assert run(source, out).returncode == 0
    assert ids(out / "train.jsonl") == list(range(601, 975))
    assert ids(out / "test.jsonl") == list(range(11, 511))
    assert ids(out / "test-100.jsonl") == list(range(11, 111))
    assert json.loads((out / "train.jsonl").read_text().splitlines()[0])["code"] == "c\r\n"
    assert "there already" in run(tmp_path / "absent", out).stdout


def test_a_part_of_mbpp_is_refused_in_one_line_and_writes_nothing(tmp_path: Path):
    source, out = write_rows(tmp_path / "mbpp.jsonl", range(1, 500)), tmp_path / "mbpp"
    done = run(source, out)
    assert done.returncode == 1
    assert done.stderr == (
        f"mbpp: {source}: 385 problems are missing, from 500 on; give the complete set, mbpp.jsonl "
        "of google-research or the hub's\n"
    )
    assert not out.exists()


def test_the_run_file_reads_what_these_programs_write():
    config = load(REPOSITORY / "deploy" / "runs" / "smollm2_mbpp.toml")
    makefile = (REPOSITORY / "Makefile").read_text()
    assert f"--out {config.problems.train} --against {config.problems.heldout}" in makefile
    assert config.model.path == "models/SmolLM2-135M-Instruct"
    assert {"cccs", "executed", "grpo"} <= set(config.choices.values())


def test_quick_changes_keys_that_there_are():
    line = next(
        line
        for line in (REPOSITORY / "Makefile").read_text().splitlines()
        if line.startswith("QUICKLY := ")
    )
    changes = line.removeprefix("QUICKLY := ").replace("--set ", "").split()
    config = load(REPOSITORY / "deploy" / "runs" / "smollm2_mbpp.toml", changes)
    assert config.name == "smollm2-mbpp-quick"
    assert config.train.steps == 12
