"""Bad rows: each is reported in one line, with its place and what to do."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from stepcoder_dist import problems
from stepcoder_dist.errors import ProblemError
from stepcoder_dist.problems import files as problem_files
from stepcoder_dist.records import Problem

STDIN = {"problem_id": "a/1", "inputs": ["1\n"], "outputs": ["2\n"], "fn_name": None}
CALL = {"problem_id": "a/2", "inputs": [[1, 2]], "outputs": [3], "fn_name": "add"}


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def refusal(row: Any) -> str:
    with pytest.raises(ProblemError) as caught:
        problems.problem_from_row(row, "set.jsonl:17")
    return str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"problem_id": "apps/2404", "inputs": ["1", "2", "3"], "outputs": ["1", "2"]},
            'set.jsonl:17: 3 inputs but 2 outputs (problem "apps/2404")',
        ),
        ({**STDIN, "inputs": [], "outputs": []}, 'set.jsonl:17: no tests (problem "a/1")'),
        (
            {**STDIN, "inputs": None, "outputs": "2"},
            'set.jsonl:17: outputs is a str, not a list (problem "a/1")',
        ),
        (
            {**STDIN, "reference": "x = 1\nif x\n  y"},
            "set.jsonl:17: the reference does not parse: line 2: expected ':' (problem \"a/1\")",
        ),
        (
            {**STDIN, "reference": "return 1"},
            (
                "set.jsonl:17: the reference does not parse: line 1: 'return' outside function "
                '(problem "a/1")'
            ),
        ),
        (
            {**STDIN, "solutions": ["print 1", "print 2"]},
            (
                "set.jsonl:17: the first of 2 solutions does not parse: line 1: Missing "
                "parentheses in call to 'print'. Did you mean print(...)? (problem \"a/1\")"
            ),
        ),
        (
            {**STDIN, "inputs": [5]},
            'set.jsonl:17: input 1 is an int, not text, and there is no fn_name (problem "a/1")',
        ),
        (
            {**CALL, "inputs": [{"a": 1}]},
            'set.jsonl:17: input 1 is a dict, not a list of arguments (problem "a/2")',
        ),
        (
            {**CALL, "fn_name": "a b"},
            "set.jsonl:17: fn_name 'a b' is no name of a function (problem \"a/2\")",
        ),
        (
            {**CALL, "time_limit_s": math.inf},
            'set.jsonl:17: time_limit_s is inf, not a positive number (problem "a/2")',
        ),
        (
            {**CALL, "memory_limit_mb": "64"},
            "set.jsonl:17: memory_limit_mb is '64', not a positive number (problem \"a/2\")",
        ),
        (
            {**CALL, "level": "so-so"},
            (
                "set.jsonl:17: the level is 'so-so', not one of introductory, interview, "
                'competition, or a published set\'s (easy, MEDIUM_HARD, …) (problem "a/2")'
            ),
        ),
        ({**CALL, "statement": 3}, 'set.jsonl:17: statement is an int, not text (problem "a/2")'),
        ({**CALL, "problem_id": ""}, "set.jsonl:17: the id '' is empty or not printable"),
        (
            {**CALL, "statement": "half \ud83d of a smile"},
            (
                "set.jsonl:17: its statement has half a surrogate pair, which is no character "
                '(problem "a/2")'
            ),
        ),
        (
            {"question": "q", "input_output": "{", "problem_id": 4},
            "set.jsonl:17: input_output is not valid JSON",
        ),
        (
            {"question": "q", "input_output": "", "problem_id": 4},
            'set.jsonl:17: no tests (problem "apps/4")',
        ),
        ([1], "set.jsonl:17: the row is a list, not an object"),
        (
            {"nom": 1, "x": 2},
            (
                "set.jsonl:17: keys nom, x fit no known format; `stepcoder data formats` lists "
                "the known ones"
            ),
        ),
    ],
)
def test_a_bad_row_is_told_in_one_line_with_its_place(row: Any, message: str):
    assert refusal(row) == message + f"; {problem_files.FIX}"


def test_broken_json_is_told_with_its_line_and_column(tmp_path: Path):
    path = jsonl(tmp_path / "p.jsonl", STDIN, '{"problem_id": }')
    with pytest.raises(ProblemError) as caught:
        problems.load(path)
    assert str(caught.value) == (
        f"{path}:2: not valid JSON: expecting value at column 16; "
        "fix the row or pass --max-bad-share (in a run file: problems.max_bad_share)"
    )


def test_an_id_that_stands_twice_is_told_with_both_places(tmp_path: Path):
    path = jsonl(tmp_path / "p.jsonl", STDIN, CALL, STDIN)
    with pytest.raises(ProblemError) as caught:
        problems.load(path)
    assert str(caught.value) == (
        f'{path}:3: the id is used at {path}:1 already (problem "a/1"); '
        "fix the row or pass --max-bad-share (in a run file: problems.max_bad_share)"
    )


def test_bad_rows_are_tolerated_up_to_the_share_and_named(tmp_path: Path):
    path = jsonl(tmp_path / "p.jsonl", STDIN, "{", CALL, {**CALL, "problem_id": "a/3"})
    loaded = problems.load(path, max_bad_share=0.25)
    assert [p.problem_id for p in loaded] == ["a/1", "a/2", "a/3"]
    assert loaded.account.good == 3
    assert [str(e).split(": ")[0] for e in loaded.account.bad] == [f"{path}:2"]
    with pytest.raises(ProblemError) as caught:
        problems.load(path, max_bad_share=0.2)
    assert str(caught.value) == (
        f"{path}: 1 of 4 rows are bad, more than the tolerated share of 0.2: "
        f"{path}:2: not valid JSON: expecting property name enclosed in double quotes at column 2"
    )


def test_every_row_can_be_had_with_its_error_in_place(tmp_path: Path):
    path = jsonl(tmp_path / "p.jsonl", STDIN, "[1]", CALL)
    assert [type(item).__name__ for item in problems.each(path)] == [
        "Problem",
        "ProblemError",
        "Problem",
    ]


def test_a_missing_file_an_empty_one_and_a_folder_without_problems_say_what_to_give(tmp_path: Path):
    with pytest.raises(ProblemError, match=r"nope: no such file or folder; give a JSON list"):
        problems.load(tmp_path / "nope")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ProblemError, match=r"empty: holds no problems"):
        problems.load(tmp_path / "empty")
    with pytest.raises(ProblemError, match=r"holds neither problem folders"):
        problems.load(tmp_path)


def test_a_gzip_file_that_was_cut_short_is_no_traceback(tmp_path: Path):
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps(STDIN) + "\n").encode() * 3)[:-12])
    with pytest.raises(ProblemError, match=r"cannot be read .*; restore the file"):
        list(problems.each(path))


@pytest.mark.parametrize("line", ["\xff".encode("latin-1"), b"1" * 300_000, b"[" * 100_000])
def test_a_line_that_is_no_text_a_monstrous_number_or_a_bottomless_list_is_a_bad_row(
    tmp_path: Path, line: bytes
):
    path = tmp_path / "p.jsonl"
    path.write_bytes(json.dumps(STDIN).encode() + b"\n" + line + b"\n")
    good, bad = problems.each(path)
    assert isinstance(good, Problem)
    assert str(bad).startswith(f"{path}:2: not valid JSON: ")


def test_where_every_row_is_bad_no_share_is_said_to_be_exceeded(tmp_path: Path):
    path = jsonl(tmp_path / "p.jsonl", "{")
    with pytest.raises(ProblemError) as caught:
        problems.load(path, max_bad_share=1.0)
    assert str(caught.value) == (
        f"{path}: 1 of 1 rows are bad: {path}:1: not valid JSON: "
        "expecting property name enclosed in double quotes at column 2"
    )


def test_a_command_that_reads_files_only_does_not_offer_the_shipped_set_for_itself():
    with pytest.raises(ProblemError, match=r"^ladder:train: this command reads files only"):
        list(problem_files.rows(Path("ladder:train")))
