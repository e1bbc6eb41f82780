"""Files of JSON lines that grow."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stepcoder_dist.host.files import file_lock, json_lines

TEXT = b'{"step": 1}\n{"step": 2}\n{"step": 3}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(TEXT)
    return path


def test_rows_are_appended_a_line_each(path: Path):
    json_lines.append_rows(path, [{"step": 4, "text": "é\n"}, {"step": 5}])
    assert path.read_bytes() == TEXT + b'{"step": 4, "text": "\\u00e9\\n"}\n{"step": 5}\n'
    assert [row["step"] for row in json_lines.rows(path)] == [1, 2, 3, 4, 5]


def test_an_appended_row_is_there_for_others_while_the_file_is_open(path: Path):
    with path.open("ab") as file:
        json_lines.append(file, [{"step": 4}], sync=False)
        assert [row["step"] for row in json_lines.rows(path)] == [1, 2, 3, 4]


@pytest.mark.parametrize("cut_at", range(len(TEXT) + 1))
def test_a_file_that_ends_anywhere_is_continued_after_its_last_complete_line(
    path: Path, cut_at: int
):
    path.write_bytes(TEXT[:cut_at])
    complete = TEXT[:cut_at].count(b"\n")
    assert json_lines.cut(path) == complete
    json_lines.append_rows(path, [{"step": 9}])
    assert [row["step"] for row in json_lines.rows(path)] == [*range(1, complete + 1), 9]


def test_a_line_without_its_end_is_no_line(path: Path):
    path.write_bytes(TEXT + b'{"step": 4}')
    assert list(json_lines.complete(path)) == TEXT.splitlines(keepends=True)


def test_a_file_that_is_not_there_has_no_line(tmp_path: Path):
    assert list(json_lines.complete(tmp_path / "none")) == []
    assert json_lines.cut(tmp_path / "none") == 0
    json_lines.cut_after(tmp_path / "none", 3)
    assert list(tmp_path.iterdir()) == []


def test_lines_at_the_end_are_cut_off_in_place(path: Path):
    before = path.stat().st_ino
    json_lines.cut_after(path, 2)
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n'
    assert path.stat().st_ino == before


def test_lines_in_the_middle_are_left_out_of_a_new_file(path: Path):
    asked = []

    def keep(line: bytes) -> bool:
        asked.append(json.loads(line)["step"])
        return asked[-1] != 2

    assert json_lines.cut(path, keep) == 2
    assert path.read_bytes() == b'{"step": 1}\n{"step": 3}\n'
    assert asked == [1, 2, 3]
    assert [p.name for p in path.parent.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("line", [b"null\n", b'{"step": "x"}\n', b"{}\n", b"\xff\n", b"[]\n"])
def test_a_line_without_a_step_belongs_to_no_step(path: Path, line: bytes):
    path.write_bytes(TEXT + line)
    json_lines.cut_after(path, 3)
    assert path.read_bytes() == TEXT


def test_one_writer_or_many_readers_hold_a_lock(tmp_path: Path):
    lock = tmp_path / "lock"
    writer = file_lock.hold(lock)
    with pytest.raises(BlockingIOError):
        file_lock.hold(lock, shared=True)
    os.close(writer)
    readers = [file_lock.hold(lock, shared=True) for _ in range(2)]
    with pytest.raises(BlockingIOError):
        file_lock.hold(lock)
    for reader in readers:
        os.close(reader)
    os.close(file_lock.hold(lock))
