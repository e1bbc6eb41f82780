"""`stepcoder judge`: every row gets exactly one verdict, whatever is wrong with it."""

from __future__ import annotations

import asyncio
import json
import warnings

import pytest

from sandbox.judge_files.batch import judge_files
from stepcoder_dist.errors import UserError

PROBLEMS = [
    {"problem_id": "t/1", "inputs": ["1\n"], "outputs": ["2\n"], "fn_name": None},
    {"problem_id": "t/2", "inputs": [[1, 2]], "outputs": [3], "fn_name": "f"},
    {"problem_id": "t/3", "inputs": [], "outputs": [], "fn_name": None},
    {
        "problem_id": "t/4",
        "inputs": ["1"],
        "outputs": ["1"],
        "fn_name": None,
        "comparison": "fuzzy",
    },
]
PROGRAMS = [
    {"program_id": "right", "problem_id": "t/1", "source": "# twice\nprint(2 * int(input()))\n"},
    {"program_id": "wrong", "problem_id": "t/1", "source": "x = 0\nif x:\n    x = 1\nprint(x)"},
    {"program_id": "broken", "problem_id": "t/1", "source": "print(\n\n"},
    {"program_id": "call", "problem_id": "t/2", "source": "def f(a, b): return a + b"},
    {"program_id": "no tests", "problem_id": "t/3", "source": ""},
    {"program_id": "unknown comparison", "problem_id": "t/4", "source": ""},
    {"program_id": "unknown problem", "problem_id": "t/9", "source": ""},
    {"program_id": "right", "problem_id": "t/1", "source": "print(2)"},
    {"program_id": "no source", "problem_id": "t/1"},
    {"program_id": "number", "problem_id": "t/1", "source": 5},
    {"problem_id": "t/1", "source": "print(2)"},
    {"program_id": "large", "problem_id": "t/1", "source": "#" * 5_000_000},
    [],
]


@pytest.fixture
def verdicts(tmp_path):
    problems, programs, out = (tmp_path / name for name in ("p.jsonl", "c.jsonl", "v.jsonl"))
    problems.write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS))
    programs.write_text("".join(json.dumps(row) + "\n" for row in PROGRAMS) + "{not json\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(judge_files(problems, programs, out, backend="process", jobs=2, image="none"))
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".part"] == []
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_every_row_has_one_verdict_and_bad_rows_say_why(verdicts):
    told = sorted((str(v["program_id"]), v["outcome"], v["detail"][:42]) for v in verdicts)
    assert told == sorted(
        [
            ("right", "passed", ""),
            ("wrong", "wrong_answer", "test 1: expected '2\\n', got '0\\n'"),
            ("broken", "compile_error", "SyntaxError: '(' was never closed (program"),
            ("call", "passed", ""),
            (
                "no tests",
                "invalid",
                next(v for v in verdicts if v["program_id"] == "no tests")["detail"][:42],
            ),
            ("unknown comparison", "invalid", "unknown comparison 'fuzzy'; use one of exa"),
            ("unknown problem", "invalid", "no problem 't/9' among the problems"),
            ("right", "invalid", "a second program with the id 'right'"),
            ("no source", "invalid", "source is missing"),
            ("number", "invalid", "source is not text"),
            ("None", "invalid", "program_id is missing or not text"),
            ("large", "invalid", "the source has 5000000 characters; 4194304"),
            ("None", "invalid", "the row is a list, not an object"),
            ("None", "invalid", next(v for v in verdicts if "JSON" in v["detail"])["detail"][:42]),
        ]
    )


def test_a_verdict_names_lines_as_the_mask_sees_them(verdicts):
    by_id = {v["program_id"]: v for v in verdicts if v["outcome"] != "invalid"}
    wall_ms = by_id["wrong"].pop("wall_ms")
    assert wall_ms > 0
    assert by_id["wrong"] == {
        "program_id": "wrong",
        "problem_id": "t/1",
        "outcome": "wrong_answer",
        "tests_passed": 0,
        "tests_total": 1,
        "executed_lines": [1, 2, 4],
        "kept_lines": [1, 2, 4],
        "coverage_trusted": True,
        "detail": "test 1: expected '2\\n', got '0\\n'",
    }
    assert by_id["right"]["kept_lines"] == [1, 2]
    assert by_id["broken"]["executed_lines"] == []
    assert by_id["broken"]["kept_lines"] == [1, 2]
    assert by_id["broken"]["tests_total"] == 1


def test_missing_files_are_one_line_errors(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        asyncio.run(
            judge_files(
                tmp_path / "p",
                tmp_path / "c",
                tmp_path / "v",
                backend="process",
                jobs=1,
                image="none",
            )
        )
