"""JSON lists, read one item at a time, whatever their size."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from stepcoder_dist import problems
from stepcoder_dist.errors import ProblemError
from stepcoder_dist.problems import files as problem_files

STDIN = {"problem_id": "a/1", "inputs": ["1\n"], "outputs": ["2\n"], "fn_name": None}
CALL = {"problem_id": "a/2", "inputs": [[1, 2]], "outputs": [3], "fn_name": "add"}


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def test_a_json_list_gives_every_item_with_the_line_it_begins_on(tmp_path: Path):
    path = tmp_path / "p.json"
    path.write_text("\ufeff[\n" + json.dumps(STDIN, indent=1) + ",\n" + json.dumps(CALL) + "\n]\n")
    first, second = problem_files.rows(path)
    assert first == (f"{path}:2", STDIN)
    assert second == (f"{path}:{2 + json.dumps(STDIN, indent=1).count(chr(10)) + 1}", CALL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}\n{"b": 2}]', ":2: not a JSON list: expected ',', found '{'; fix"),
        ('[{"a": 1},', ":1: not valid JSON: expecting value at column 11"),
        ('[{"a": 1}', ":1: not a JSON list: expected ',', found the end of the file; fix"),
        ('[\n{"a": 1,\n "b": tru}]', ":3: not valid JSON: expecting value at column 7"),
        ('[{"a": "\n"}]', ":1: not valid JSON: invalid control character at at column 9"),
        ("[] x", ":1: text after the end of the list; remove it"),
    ],
)
def test_a_broken_json_list_is_told_with_its_line(tmp_path: Path, text: str, message: str):
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(ProblemError) as caught:
        list(problem_files.rows(path))
    assert str(caught.value).startswith(str(path) + message)


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=40), max_size=4), max_size=8),
    st.integers(1, 40),
)
def test_any_list_is_read_whatever_the_size_of_the_window(rows: list[Any], window: int):
    text = json.dumps(rows, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")
    with contextlib.suppress(UnicodeDecodeError), pytest.MonkeyPatch.context() as patch:
        text.decode()
        patch.setattr(problem_files, "_CHUNK_CHARS", window)
        read_back = list(problem_files._list_items(Path("x"), io.BytesIO(text)))
        assert [item[1] for item in read_back] == rows


def test_a_long_file_is_streamed_one_row_at_a_time(tmp_path: Path):
    import tracemalloc

    path = tmp_path / "p.json"
    with path.open("w") as file:
        file.write("[")
        for number in range(300):
            row = {**STDIN, "problem_id": f"a/{number}", "inputs": ["x" * 100_000]}
            file.write("," * (number > 0) + json.dumps(row) + "\n")
        file.write("]")
    tracemalloc.start()
    assert sum(1 for _ in problems.stream(path)) == 300
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 30_000_000
    assert peak < 3_000_000


def test_a_limit_stops_reading_before_later_rows_can_be_bad(tmp_path: Path):
    path = jsonl(tmp_path / "p.jsonl", STDIN, CALL, "{")
    assert len(problems.load(path, limit=2)) == 2


def test_every_problem_folder_of_apps_is_told_also_a_broken_one(tmp_path: Path):
    for name, files in {
        "0000": {"question.txt": "q", "metadata.json": "[]"},
        "0001": {"question.txt": "q", "metadata.json": '{"difficulty": "interview"}'},
        "0002": {"input_output.json": "{}"},
        "0003": {"question.txt": "q", "metadata.json": "{"},
        "notes": {"readme": "no problem"},
    }.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
    broken, good, without, cut = problem_files.rows(tmp_path)
    assert "0000: metadata.json is no object; fix the row" in str(broken)
    assert good[1]["difficulty"] == "interview"
    assert "0002: no question.txt; fix the row" in str(without)
    assert "0003: expecting property name" in str(cut)
