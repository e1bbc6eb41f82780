"""One warm start at a time in a folder, and none while a run reads it."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from stepcoder_dist.cli import commands as cli
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError, InUse
from stepcoder_dist.host.files import draft_folder
from stepcoder_dist.sft import folder as sft_folder


def config(sft_path: Path) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "warm",
            "model": {"path": "m", "sft_path": str(sft_path)},
            "problems": {"train": "t", "heldout": "h"},
        }
    )


def refused(attempt: AbstractContextManager[None]) -> None:
    with pytest.raises(InUse, match="in use by a live run"), attempt:
        pass


def test_two_warm_starts_into_one_folder_do_not_mix(tmp_path: Path):
    settings = config(tmp_path / "sft")
    with sft_folder.writing(settings):
        refused(sft_folder.writing(settings))
    with sft_folder.writing(settings):
        pass


def test_many_runs_read_a_folder_and_none_may_write_it_meanwhile(tmp_path: Path):
    settings = config(tmp_path / "sft")
    (tmp_path / "sft").mkdir()
    with sft_folder.reading(settings), sft_folder.reading(settings):
        refused(sft_folder.writing(settings))
    with sft_folder.writing(settings):
        refused(sft_folder.reading(settings))


def test_an_interrupted_warm_start_leaves_no_draft(tmp_path: Path):
    with suppress(KeyboardInterrupt), sft_folder.writing(config(tmp_path / "sft")):
        draft_folder.begin(tmp_path / "sft")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == [".sft.lock"]


def test_a_model_that_nobody_here_made_needs_no_lock(tmp_path: Path):
    with sft_folder.reading(config(tmp_path / "not-there")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_warm_start_that_would_replace_its_base_is_refused_and_makes_nothing(tmp_path: Path):
    settings = config(tmp_path / "hub" / "m")
    settings = settings.model_copy(
        update={"model": settings.model.model_copy(update={"path": str(tmp_path / "hub" / "m")})}
    )
    with pytest.raises(ConfigError, match="would replace its base"), sft_folder.writing(settings):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_no_model_is_not_replaced_by_one(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set.jsonl").write_text("{}")
    with (
        pytest.raises(ConfigError, match="data: exists already and would be replaced"),
        sft_folder.writing(config(tmp_path / "data")),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("kind", ["nothing", "empty folder", "older model"])
def test_nothing_and_an_older_warm_start_may_be_replaced(tmp_path: Path, kind: str):
    if kind != "nothing":
        (tmp_path / "sft").mkdir()
    if kind == "older model":
        (tmp_path / "sft" / "config.json").write_text("{}")
    with sft_folder.writing(config(tmp_path / "sft")):
        pass


def test_an_exported_checkpoint_replaces_nothing(tmp_path: Path):
    complete = tmp_path / "run" / "checkpoints" / "step_000001"
    complete.mkdir(parents=True)
    (complete / "run.json").write_text("{}")
    assert cli.run(["export", str(tmp_path / "run"), "1", str(tmp_path)]) == 2
    assert (complete / "run.json").is_file()
