"""docs/from-apps.md as it is written: raw APPS, refined, warm start, two tables, compared."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from commands import REPOSITORY

from sandbox.backend import choose
from stepcoder_dist import problems
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import Problem

pytestmark = [
    pytest.mark.docker,
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
    pytest.mark.timeout(600),
]

GENUINE = REPOSITORY.parent / "shared" / "data" / "apps"
EASY = "kinds=if,if-else&calls=0"


def commands_of_the_page() -> str:
    page = (REPOSITORY / "docs" / "from-apps.md").read_text()
    return re.search(r"```sh\n(.*?)```", page, re.DOTALL)[1]


def write_as_raw_apps(folder: Path, chosen: Iterable[Problem]) -> None:
    """APPS's own layout: a folder a problem, everything as APPS names it."""
    for number, problem in enumerate(chosen, start=5000):
        place = folder / f"{number:04d}"
        place.mkdir(parents=True)
        tests = {"inputs": list(problem.tests.inputs), "outputs": list(problem.tests.outputs)}
        if problem.tests.fn_name:
            tests["fn_name"] = problem.tests.fn_name
        (place / "question.txt").write_text(problem.statement)
        (place / "input_output.json").write_text(json.dumps(tests))
        (place / "solutions.json").write_text(json.dumps([problem.reference]))
        (place / "metadata.json").write_text(json.dumps({"difficulty": problem.level}))
        if problem.starter_code:
            (place / "starter_code.py").write_text(problem.starter_code)


def raw_apps(folder: Path) -> Path:
    write_as_raw_apps(
        folder / "train", problems.load(f"ladder:train?conditionals=1-2&count=12&{EASY}")
    )
    write_as_raw_apps(
        folder / "test", problems.load(f"ladder:heldout?conditionals=1-2&count=6&{EASY}")
    )
    no_solution = folder / "train" / "5003" / "solutions.json"
    no_solution.unlink()
    wrong = folder / "train" / "5004" / "solutions.json"
    wrong.write_text(json.dumps(["print('no answer')\n"]))
    shutil.copytree(folder / "test" / "5002", folder / "train" / "5100")  # leaked
    for genuine in sorted(GENUINE.glob("2404")):  # the others cost a minute each to augment
        shutil.copytree(genuine, folder / "train" / genuine.name)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which the page's commands ran, and what they printed."""
    try:
        choose(SandboxConfig(backend="docker"))
    except MissingEngine as error:
        pytest.skip(str(error))
    here = tmp_path_factory.mktemp("study")
    (here / "deploy").symlink_to(REPOSITORY / "deploy")
    # as the command would be found in an installed environment
    command = f'stepcoder() {{ "{sys.executable}" -m stepcoder_dist "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-euc", command + commands_of_the_page()],
        cwd=here,
        env=os.environ
        | {
            "APPS": str(raw_apps(here / "raw")),
            "PYTHONPATH": str(REPOSITORY),
            "RAY_ADDRESS": "",
            "STEPCODER_RUNS": "runs",
        },
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return here, done.stdout


def test_every_row_of_raw_apps_is_kept_or_left_out_by_name(finished: tuple[Path, str]) -> None:
    here, _ = finished
    kept = {p.problem_id for p in problems.load(str(here / "data/train/apps_plus.jsonl"))}
    raw = {f"apps/{folder.name}" for folder in (here / "raw" / "train").glob("*/")}
    assert {"apps/5003", "apps/5004", "apps/5100"} == raw - kept
    manifest = json.loads((here / "data/train/apps_plus.manifest.json").read_text())
    assert str(len(kept)) in json.dumps(manifest)


def test_the_tables_cover_the_same_held_out_problems(finished: tuple[Path, str]) -> None:
    here, printed = finished
    rows = {
        name: [json.loads(line) for line in (here / "eval" / f"{name}.jsonl").open()]
        for name in ("base", "sft")
    }
    assert {len(each) for each in rows.values()} == {6 * 5}
    assert [r["problem_id"] for r in rows["base"]] == [r["problem_id"] for r in rows["sft"]]
    assert {r["outcome"] for r in rows["sft"]} & {"passed", "wrong_answer", "runtime_error"}
    assert "sign test" in printed
    assert "pass@5" in printed


def test_the_checkpoint_is_an_ordinary_folder_with_its_held_out_loss(
    finished: tuple[Path, str],
) -> None:
    here, _ = finished
    folder = here / "runs" / "from-apps-sft"
    assert (folder / "model.safetensors").is_file()
    record = json.loads((folder / "stepcoder.json").read_text())
    curve = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    losses = [row["heldout_loss"] for row in curve if row.get("heldout_loss") is not None]
    assert losses[-1] < losses[0]
    assert record["updates"] == curve[-1]["step"]
