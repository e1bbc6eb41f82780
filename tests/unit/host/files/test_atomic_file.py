"""A text file holds the complete new text, or is as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepcoder_dist.host.files import atomic_file


def test_the_old_text_is_there_until_the_new_one_is_complete(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_file.written(path) as file:
        file.write("new\n")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def break_off(path: Path) -> None:
    with atomic_file.written(path) as file:
        file.write("half of the new te")
        raise KeyboardInterrupt


def test_an_error_leaves_the_old_text_and_no_draft(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        break_off(path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_is_not_there_is_the_systems_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        atomic_file.write_text(tmp_path / "none" / "a.txt", "x")
