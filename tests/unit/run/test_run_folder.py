"""Who may write a run folder, and what a resumed run finds in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError, InUse, RunError
from stepcoder_dist.run.run_folder import RunFolder, checkpoints


def config(name: str = "clamp", **more: object) -> RunConfig:
    tree = {"name": name, "model": {"path": "m"}, "problems": {"train": "t", "heldout": "h"}}
    return RunConfig.model_validate(tree | more)


def commit(folder: RunFolder, version: int) -> None:
    draft = folder.begin_checkpoint(version)
    (draft / "learner").mkdir()
    (draft / "learner" / "state").write_text("weights")
    folder.commit_checkpoint(draft, {"version": version})


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_new_run_takes_the_next_free_folder():
    first = RunFolder.fresh(config())
    commit(first, 1)
    first.close()
    second = RunFolder.fresh(config())
    assert (first.path.name, second.path.name) == ("clamp", "clamp-2")


def test_a_new_run_keeps_no_score_of_an_attempt_that_ended_before_its_first_step():
    for settings in (config(), config(run_dir="here")):
        first = RunFolder.fresh(settings)
        (first.path / "heldout.jsonl").write_text('{"step": 0, "pass_at_1": 0.5}\n')
        first.close()
        second = RunFolder.fresh(settings)
        assert second.path == first.path
        assert not (second.path / "heldout.jsonl").exists()


def test_a_folder_that_a_live_run_holds_is_passed_over_or_refused_by_name():
    live = RunFolder.fresh(config())
    assert RunFolder.fresh(config()).path.name == "clamp-2"
    with pytest.raises(InUse, match="in use by a live run"):
        RunFolder.fresh(config(run_dir=str(live.path)))


def test_a_named_folder_with_a_run_in_it_is_not_written_over():
    first = RunFolder.fresh(config(run_dir="here"))
    commit(first, 1)
    first.close()
    with pytest.raises(ConfigError, match="already holds a run; pass --resume"):
        RunFolder.fresh(config(run_dir="here"))


def test_a_command_of_several_stages_goes_on_in_the_folder_of_its_last_stage():
    first = RunFolder.begun(config())  # nothing was begun: as a new run
    (first.path / "eval").mkdir()
    (first.path / "eval" / "sft.jsonl").write_text("{}\n")
    for lost in ("metrics.jsonl", "samples.jsonl", "ledger.jsonl"):
        (first.path / lost).write_text('{"step": 1}\n')
    first.close()
    again = RunFolder.begun(config())
    assert again.path == first.path
    assert sorted(path.name for path in again.path.iterdir()) == [".lock", "eval"]
    commit(again, 1)
    (again.path / "metrics.jsonl").write_text('{"step": 1}\n')
    again.close()
    last = RunFolder.begun(config(run_dir=str(first.path)))
    assert (last.path / "metrics.jsonl").exists()


def test_a_run_dir_that_cannot_be_made_is_one_line():
    Path("file").write_text("")
    with pytest.raises(ConfigError, match="cannot be a run directory"):
        RunFolder.fresh(config(run_dir="file"))
    with pytest.raises(ConfigError, match="cannot be a run directory"):
        RunFolder.fresh(config(run_dir="file/x"))


def test_resuming_finds_the_newest_run_of_that_very_name_and_writes_nothing_before_it_is_checked():
    other = RunFolder.fresh(config("clamp-big"))
    commit(other, 1)
    other.close()
    with pytest.raises(ConfigError, match="no checkpoint to resume"):
        RunFolder.latest(config("clamp"))
    mine = RunFolder.fresh(config("clamp"))
    commit(mine, 2)
    mine.close()
    again = RunFolder.latest(config("clamp"))
    assert again.path == mine.path
    assert not (again.path / "config.toml").exists()


def test_a_run_whose_own_name_ends_in_a_number_is_no_later_one_of_another():
    for name in ("llama", "llama-3"):  # the newer one is another model's
        folder = RunFolder.fresh(config(name))
        folder.write_config()
        commit(folder, 1)
        folder.close()
    found = RunFolder.latest(config("llama"))
    assert found.path.name == "llama"
    found.close()
    second = RunFolder.fresh(config("llama"))
    second.write_config()
    commit(second, 1)
    second.close()
    for opened in (RunFolder.latest, RunFolder.begun):
        found = opened(config("llama"))
        assert found.path == second.path
        found.close()


def test_a_checkpoint_is_whole_or_not_there():
    folder = RunFolder.fresh(config())
    draft = folder.begin_checkpoint(3)
    (draft / "learner").mkdir()
    assert checkpoints(folder.path) == []
    with pytest.raises(RunError, match="wrote nothing there"):
        folder.commit_checkpoint(draft, {})
    assert checkpoints(folder.path) == []
    commit(folder, 3)
    assert [path.name for path in checkpoints(folder.path)] == ["step_000003"]


def test_rows_of_steps_that_will_be_done_again_are_dropped():
    folder = RunFolder.fresh(config())
    rows = [{"step": step} for step in (1, 2, 3)]
    (folder.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder.cut_after(2)
    left = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in left] == [1, 2]


def test_what_a_user_keeps_next_to_the_policies_is_not_dropped_with_those_of_later_steps():
    folder = RunFolder.fresh(config())
    for name in ("step_000002", "step_000003", "step_000003-mine", "step_best"):
        (folder.path / "hf" / name).mkdir(parents=True)
    folder.cut_after(2)
    left = sorted(path.name for path in (folder.path / "hf").iterdir())
    assert left == ["step_000002", "step_000003-mine", "step_best"]


def test_a_copy_of_a_checkpoint_is_neither_resumed_nor_removed():
    folder = RunFolder.fresh(config(train={"keep_checkpoints": 1}))
    commit(folder, 3)
    folder.begin_checkpoint(3).rename(folder.path / "checkpoints" / "step_000003.bak")
    (folder.path / "checkpoints" / "step_000003.bak" / "run.json").write_text("{}")
    commit(folder, 4)
    folder.remove_old_checkpoints()
    assert [path.name for path in checkpoints(folder.path)] == ["step_000004"]
    assert (folder.path / "checkpoints" / "step_000003.bak").is_dir()
