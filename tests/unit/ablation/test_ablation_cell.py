"""What keeps one cell apart from another, before anything is started."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from ablation_cases import ABLATION, RUN, load

from stepcoder_dist.errors import ConfigError, InUse
from stepcoder_dist.launch import ablate_cell
from stepcoder_dist.launch.ablate import Inputs
from stepcoder_dist.run.run_folder import RunFolder

SHIPPED = Path(__file__).parents[3] / "deploy/models/ladder-sft"
HERE = (
    RUN.replace('path = "nowhere"', f'path = "{SHIPPED}"\nmax_tokens = 448')
    .replace("[sampling]", "[sampling]\nmax_new_tokens = 192")
    .replace("[learner]", '[sandbox]\nbackend = "process"\n[learner]')
)


@pytest.fixture(autouse=True)
def _runs_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPCODER_RUNS", str(tmp_path / "runs"))


@pytest.mark.parametrize(("arm", "folder"), [("sft", "sft"), ("b", "b-seed0")])
def test_a_cell_that_another_process_measures_is_refused(tmp_path: Path, arm: str, folder: str):
    cell = load(tmp_path, run=HERE).select("plain", arm, None if arm == "sft" else 0)[0]
    other = RunFolder(tmp_path / "runs/two/plain" / folder, cell.config)
    with closing(other), pytest.raises(InUse, match=f"two/plain/{folder}: in use by a live run"):
        ablate_cell.measure(cell, Inputs().problems(cell))


def test_cells_of_two_ablation_files_have_folders_of_their_own(tmp_path: Path):
    one = load(tmp_path / "one").cells[-1]
    other = load(tmp_path / "other", ABLATION.replace('name = "two"', 'name = "three"')).cells[-1]
    assert ablate_cell.folder_of(one) == tmp_path / "runs/two/short/b-seed1"
    assert ablate_cell.folder_of(other) == tmp_path / "runs/three/short/b-seed1"


def test_an_arm_that_would_train_on_fewer_problems_than_the_others_is_refused(tmp_path: Path):
    # prompts of 53 to 79 tokens, and of 79 to 157 with the code that the easiest stage gives
    long = HERE.replace("train?count=4", "train?count=8&conditionals=4-5&kinds=if,if-else&calls=0")
    plan = load(tmp_path, run=long.replace("max_tokens = 448", "max_tokens = 272"))
    given = plan.select("plain", "b", 0)[0]
    with pytest.raises(ConfigError, match=r"training problems fit model\.max_tokens = 272 only"):
        ablate_cell.measure(given, Inputs().problems(given))
