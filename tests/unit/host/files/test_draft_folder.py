"""Folders that appear complete or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stepcoder_dist.host.files import draft_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(folder: Path, text: str) -> None:
    draft = draft_folder.begin(folder)
    (draft / "weights").write_text(text)
    draft_folder.commit(draft)


def test_a_draft_is_hidden_until_it_is_committed(tmp_path: Path):
    draft = draft_folder.begin(tmp_path / "checkpoints" / "step_000010")
    assert draft == draft_folder.draft_of(tmp_path / "checkpoints" / "step_000010")
    assert names(tmp_path / "checkpoints") == [".step_000010"]
    (draft / "weights").write_text("w")
    assert draft_folder.commit(draft) == tmp_path / "checkpoints" / "step_000010"
    assert names(tmp_path / "checkpoints") == ["step_000010"]
    assert (tmp_path / "checkpoints" / "step_000010" / "weights").read_text() == "w"


def test_a_draft_that_a_crash_left_is_begun_again_empty(tmp_path: Path):
    (draft_folder.begin(tmp_path / "sft") / "half").touch()
    assert names(draft_folder.begin(tmp_path / "sft")) == []


def test_a_committed_folder_takes_the_place_of_an_older_one(tmp_path: Path):
    write(tmp_path / "sft", "old")
    (tmp_path / "sft" / "more").touch()
    write(tmp_path / "sft", "new")
    assert names(tmp_path) == ["sft"]
    assert names(tmp_path / "sft") == ["weights"]
    assert (tmp_path / "sft" / "weights").read_text() == "new"


def test_an_older_folder_is_there_until_the_new_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path / "sft", "old")
    draft = draft_folder.begin(tmp_path / "sft")

    def crash(_self: Path, _target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", crash)
        with pytest.raises(KeyboardInterrupt):
            draft_folder.commit(draft)
    assert (tmp_path / "sft" / "weights").read_text() == "old"
    draft_folder.discard(tmp_path / "sft")
    assert names(tmp_path) == ["sft"]


def test_a_sweep_removes_drafts_and_nothing_else(tmp_path: Path):
    write(tmp_path / "step_000001", "w")
    draft_folder.begin(tmp_path / "step_000002")
    draft_folder.sweep(tmp_path)
    draft_folder.sweep(tmp_path / "none")
    assert names(tmp_path) == ["step_000001"]


def test_a_folder_that_is_removed_is_gone_at_once_and_a_crash_leaves_a_hidden_one_to_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path / "step_000001", "w")

    def crash(path: Path, **_more: object) -> None:
        if path.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", crash)
        with pytest.raises(KeyboardInterrupt):
            draft_folder.remove(tmp_path / "step_000001")
    assert names(tmp_path) == [".step_000001.old"]
    draft_folder.sweep(tmp_path)
    assert names(tmp_path) == []
    draft_folder.remove(tmp_path / "step_000001")
    assert names(tmp_path) == []
