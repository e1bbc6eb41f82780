"""Files that a user names for what a command writes, and JSON files of a model folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepcoder_dist.errors import ConfigError, RunError, UserError
from stepcoder_dist.host.files import output_file
from stepcoder_dist.host.files.json_file import read_object


def test_a_file_that_cannot_be_written_is_one_line_with_what_to_do(tmp_path: Path):
    path = tmp_path / "none" / "a.txt"
    for kind in (UserError, RunError):
        with (
            pytest.raises(kind) as caught,
            output_file.writing(path, "choose another --out", kind),
        ):
            path.write_text("x")
        assert str(caught.value) == (
            f"{path}: cannot be written (No such file or directory); choose another --out"
        )


def test_another_error_is_not_touched(tmp_path: Path):
    with pytest.raises(ValueError, match=r"^mine$"), output_file.writing(tmp_path, "no"):
        raise ValueError("mine")


def test_the_folder_of_a_result_is_made_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert output_file.prepare(Path("new/more/e.jsonl"), "") == tmp_path / "new/more/e.jsonl"
    assert (tmp_path / "new" / "more").is_dir()


def test_nothing_starts_where_a_result_could_not_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be written \(File exists\); give another"):
        output_file.prepare(tmp_path / "file" / "e.jsonl", "give another")
    with pytest.raises(ConfigError, match=r"cannot be written \(a folder\); give another"):
        output_file.prepare(tmp_path, "give another")


def test_a_file_that_is_read_is_not_replaced_under_any_of_its_names(tmp_path: Path):
    source, link = tmp_path / "source", tmp_path / "link"
    source.write_text("")
    link.symlink_to(source)
    output_file.refuse_to_replace(source, tmp_path / "other")
    with pytest.raises(UserError, match="--out would replace"):
        output_file.refuse_to_replace(source, link)


def test_a_json_file_that_is_not_there_is_an_empty_object(tmp_path: Path):
    assert read_object(tmp_path / "config.json") == {}
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert read_object(tmp_path / "config.json") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
    ],
)
def test_a_json_file_that_is_no_object_is_one_line(tmp_path: Path, content: bytes, complaint: str):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"config\.json: {complaint}.*; restore the file"):
        read_object(tmp_path / "config.json")
