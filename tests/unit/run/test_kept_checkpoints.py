"""Which checkpoints of a run stay, and which policies are written for other programs."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from runs_for_tests import Scene, config

from stepcoder_dist.errors import Interrupted, RunError
from stepcoder_dist.run.run_folder import RunFolder, checkpoints


def steps(folder: Path, of: str = "checkpoints") -> list[int]:
    return sorted(int(path.name.removeprefix("step_")) for path in (folder / of).iterdir())


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ({}, [4, 5]),
        ({1: 0.2, 2: 0.5, 3: 0.4}, [2, 4, 5]),
        ({1: 0.5, 2: 0.5, 3: 0.4}, [2, 4, 5]),
        ({2: 0.5, 5: 0.6}, [4, 5]),
        ({0: 0.9, 2: None, 3: 0.1}, [3, 4, 5]),
    ],
    ids=["newest", "best", "tie: later", "best is newest", "no checkpoint, no score"],
)
def test_the_newest_checkpoints_stay_and_the_best_by_held_out_score(
    tmp_path: Path, scores: dict[int, float | None], kept: list[int]
):
    folder = RunFolder(tmp_path, config(keep_checkpoints=2))
    for version in range(1, 6):
        draft = folder.begin_checkpoint(version)
        (draft / "learner").mkdir()
        (draft / "learner" / "state").write_text("weights")
        folder.commit_checkpoint(draft, {"version": version})
    rows = ({"step": step, "pass_at_1": score} for step, score in scores.items())
    (tmp_path / "heldout.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    folder.remove_old_checkpoints()
    assert steps(tmp_path) == kept


@pytest.mark.parametrize(("keep", "kept"), [(0, [1, 2, 3, 4]), (1, [4]), (3, [2, 3, 4])])
def test_a_run_keeps_as_many_checkpoints_as_it_says(tmp_path: Path, keep: int, kept: list[int]):
    scene = Scene(tmp_path, config(checkpoint_every=1, keep_checkpoints=keep))
    scene.train()
    assert steps(tmp_path) == kept


def test_a_run_that_dies_before_a_commit_has_the_checkpoint_before(tmp_path: Path):
    scene = Scene(tmp_path, config(checkpoint_every=1, keep_checkpoints=1))

    def fail() -> None:
        raise RunError("the disk is full")

    scene.at("save 3", fail)
    with pytest.raises(RunError):
        scene.train()
    scene.close()
    assert [path.name for path in checkpoints(tmp_path)] == ["step_000002"]
    again = Scene(tmp_path, config(checkpoint_every=1, keep_checkpoints=1), resume=True)
    again.train()
    assert steps(tmp_path) == [4]


def test_the_policy_is_written_for_other_programs_every_n_steps(tmp_path: Path):
    scene = Scene(tmp_path, config(steps=5, save_hf_every=2))
    scene.train()
    assert steps(tmp_path, "hf") == [2, 4]
    assert (tmp_path / "hf/step_000004/config.json").read_text() == '{"version": 4}'


def test_a_policy_that_a_stop_left_out_is_written_by_the_resumed_run(tmp_path: Path):
    first = Scene(tmp_path, config(save_hf_every=2))
    first.at("step 2", lambda: first.run.stop.ask(signal.SIGTERM))
    with pytest.raises(Interrupted, match="checkpoint of step 2"):
        first.train()
    first.close()
    assert not (tmp_path / "hf").exists()
    Scene(tmp_path, config(save_hf_every=2), resume=True).train()
    assert steps(tmp_path, "hf") == [2, 4]


def test_policies_of_steps_that_are_done_again_go(tmp_path: Path):
    first = Scene(tmp_path, config(checkpoint_every=2, save_hf_every=1))

    def fail() -> None:
        raise RunError("the machine is gone")

    first.at("step 4", fail)
    with pytest.raises(RunError):
        first.train()
    assert steps(tmp_path, "hf") == [1, 2, 3]
    first.folder.cut_after(2)
    assert steps(tmp_path, "hf") == [1, 2]


def test_a_folder_that_the_ranks_did_not_write_to_is_reported(tmp_path: Path):
    scene = Scene(tmp_path, config(save_hf_every=1))

    async def nowhere(folder: str) -> None:
        del folder

    scene.learner.save_hf = nowhere
    with pytest.raises(RunError, match="hf/step_000001: the learner's ranks wrote nothing there"):
        scene.train()
