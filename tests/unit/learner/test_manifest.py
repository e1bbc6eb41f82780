"""What a learner's checkpoint says of its config, and which other configs may read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from learner.saving import manifest
from stepcoder_dist.config import RunConfig
from stepcoder_dist.config.counts import fixed_for_sft
from stepcoder_dist.errors import UserError


def config(**sections: Any) -> RunConfig:
    plain = {"name": "n", "model": {"path": "m"}, "problems": {"train": "t", "heldout": "h"}}
    return RunConfig.model_validate(plain | sections)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    manifest.write(tmp_path, config(), {}, version=3, counters={})
    return tmp_path


def test_another_learning_rate_is_refused_to_rl_and_does_not_concern_a_warm_start(
    checkpoint: Path,
) -> None:
    other = config(learner={"policy_lr": 0.5})
    with pytest.raises(UserError, match=r"learner\.policy_lr = 5e-07 there, 0\.5 here; set it"):
        manifest.verify(checkpoint, other)
    assert manifest.verify(checkpoint, other, fixed_for_sft).version == 3


def test_other_betas_of_every_optimizer_are_refused_to_both(checkpoint: Path) -> None:
    other = config(learner={"adam_betas": [0.9, 0.99]})
    for question in (manifest.fixed_for_train, fixed_for_sft):
        with pytest.raises(UserError, match=r"adam_betas = \[0\.9, 0\.95\] there"):
            manifest.verify(checkpoint, other, question)


def test_a_manifest_that_has_an_estimate_of_an_earlier_version_is_read(checkpoint: Path) -> None:
    written = json.loads((checkpoint / "manifest.json").read_text())
    assert "model.shape" not in written["config"]
    written["config"] |= {"model.shape.layers": 24, "model.shape.heads": 14}
    written["config_sha256"] = "of that version"
    (checkpoint / "manifest.json").write_text(json.dumps(written))
    assert manifest.verify(checkpoint, config()).counters == {}


SHARDS = {
    "policy/state/zero_pp_rank_0_mp_rank_00_optim_states.pt": [0, 0],
    "policy/state/zero_pp_rank_1_mp_rank_00_optim_states.pt": [0, 0],
    "rank_0000.pt": [0, 0],
    "rank_0001.pt": [0, 0],
}


def written(folder: Path, run: RunConfig, files: dict[str, list[int]]) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    manifest.write(folder, run, files, version=3, counters={})


def test_other_ranks_and_another_stage_that_divides_take_a_checkpoint(tmp_path: Path) -> None:
    written(tmp_path, config(learner={"ranks": 2, "zero_stage": 1}), SHARDS)
    other = config(learner={"ranks": 5, "zero_stage": 3})
    for question in (manifest.fixed_for_train, fixed_for_sft):
        assert manifest.verify(tmp_path, other, question).ranks == 2


def test_stage_0_and_another_do_not_read_each_other_in_float32(tmp_path: Path) -> None:
    def float32(stage: int) -> RunConfig:
        return config(model={"path": "m", "dtype": "float32"}, learner={"zero_stage": stage})

    written(tmp_path / "divided", float32(2), SHARDS)
    written(tmp_path / "plain", float32(0), {"rank_0000.pt": [0, 0]})
    with pytest.raises(UserError, match=r"has learner\.zero_stage = 1, 2 or 3, 0 here; in float32"):
        manifest.verify(tmp_path / "divided", float32(0))
    with pytest.raises(UserError, match=r"has learner\.zero_stage = 0, 3 here"):
        manifest.verify(tmp_path / "plain", float32(3))
    assert manifest.verify(tmp_path / "plain", float32(0)).ranks == 1
