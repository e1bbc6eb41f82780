"""`stepcoder data inspect --run`: references in real containers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepcoder_dist.cli import commands as cli

SIGN = "n = int(input())\nif n < 0:\n    print(-1)\nelse:\n    print(1)\n"
CALL = {"problem_id": "t/call", "fn_name": "f", "inputs": [[1]], "outputs": [2]}
ROWS = [
    {"problem_id": "t/gap", "inputs": ["1\n", "2\n"], "outputs": ["1\n"] * 2, "reference": SIGN},
    {"problem_id": "t/whole", "inputs": ["1\n", "-2\n"], "outputs": ["1", "-1"], "reference": SIGN},
    {**CALL, "difficulty": "interview", "reference": "def f(x):\n    return x\n"},
    {**CALL, "problem_id": "t/none"},
]

pytestmark = pytest.mark.docker


@pytest.fixture
def a_set(tmp_path: Path) -> str:
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def test_references_that_fail_and_lines_that_no_test_executes_are_named(
    a_set: str, capsys: pytest.CaptureFixture[str]
):
    assert cli.run(["data", "inspect", a_set, "--run", "--json", "--jobs", "1"]) == 0
    told = json.loads(capsys.readouterr().out)["references"]
    assert told["levels"]["all"] == {
        "run": 3,
        "outcomes": {"passed": 2, "wrong_answer": 1},
        "executed_share": pytest.approx((3 / 4 + 1 + 1) / 3),
        "with_coverage": 3,
        "uncovered": 1,
    }
    (failed,) = told["failed"]
    assert (failed["problem_id"], failed["detail"]) == ("t/call", "test 1: expected 2, got 1")
    assert told["uncovered"] == [{"problem_id": "t/gap", "unexecuted_lines": [3]}]


def test_a_problem_is_shown_with_the_lines_that_its_tests_do_not_execute(
    a_set: str, capsys: pytest.CaptureFixture[str]
):
    assert cli.run(["data", "inspect", a_set, "--run", "--problem", "t/gap", "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert "              2 ? if n < 0:\n              3✕      print(-1)\n" in out
    assert "the reference: passed, 2 of 2 tests passed, 75% of its lines executed\n" in out
