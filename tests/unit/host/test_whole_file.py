"""A text file is there whole, or as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepcoder_dist.host import whole_file


def test_the_old_text_is_there_until_all_of_the_new_one_is(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file.written(path) as file:
        file.write("new\n")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def break_off(path: Path) -> None:
    with whole_file.written(path) as file:
        file.write("half of the new te")
        raise KeyboardInterrupt


def test_an_error_leaves_the_old_text_and_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        break_off(path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_is_not_there_is_the_systems_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        whole_file.write_text(tmp_path / "none" / "a.txt", "x")
