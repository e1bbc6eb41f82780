"""What `stepcoder data inspect` shows."""

from __future__ import annotations

import io
import json
import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from rich.console import Console

from stepcoder_dist import problems
from stepcoder_dist.cli import commands as cli
from stepcoder_dist.data.inspect import inspection, problem_view, table as inspection_table
from stepcoder_dist.data.inspect.reference_run import ReferenceRun
from stepcoder_dist.problems import ladder
from stepcoder_dist.records import Problem, TestSuite

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real problem sets are not at {DATA}")

REFERENCE = "n = int(input())\nif n > 1:\n    n += 1\nfor i in range(3):\n    n += i\nprint(n)\n"


def problem(
    name: str = "a/1", *, reference: str = REFERENCE, level: str = "interview", tests: int = 4
) -> Problem:
    suite = TestSuite(inputs=("1\n",) * tests, outputs=("4\n",) * tests)
    return Problem(problem_id=name, statement="add", reference=reference, level=level, tests=suite)


def summed(found: list[Problem], **settings: object) -> inspection.SetSummary:
    summary = inspection.SetSummary(**settings)
    for each in found:
        summary.add(each)
    return summary


def test_a_set_is_summed_up_by_level_and_kind():
    script = TestSuite(inputs=(), outputs=(), test_code="assert f(1)", entry_point="f")
    checked = Problem(
        problem_id="a/3", statement="", reference="", level="competition", tests=script
    )
    levels = summed([checked, problem(), problem("a/2", tests=2)], count_tokens=len).levels()
    assert list(levels) == ["interview", "competition", "all"]
    assert levels["all"].as_json() == {
        "problems": 3,
        "kinds": {"stdin": 2, "call": 0, "script": 1},
        "without_reference": 1,
        "tests": {"least": 1, "median": 2, "mean": 7 / 3, "largest": 4},
        "conditionals": {"least": 0, "median": 2, "mean": 4 / 3, "largest": 2},
        "stages": {"least": 0, "median": 2, "mean": 4 / 3, "largest": 2},
        "statement_chars": {"least": 0, "median": 3, "mean": 2, "largest": 3},
        "statement_tokens": {"least": 0, "median": 3, "mean": 2, "largest": 3},
        "reference_lines": {"least": 6, "median": 6, "mean": 6, "largest": 6},
        "reference_tokens": {"least": 77, "median": 77, "mean": 77, "largest": 77},
    }
    assert str(levels["interview"].spreads["tests"]) == "3 (2–4)"
    assert str(levels["competition"].spreads["tests"]) == "1"
    assert "reference_lines" not in levels["competition"].spreads


@given(st.lists(st.integers(0, 30), min_size=1))
def test_the_median_and_mean_of_counted_values_are_those_of_the_values(values: list[int]):
    spread = inspection.Spread()
    for value in values:
        spread.add(value)
    assert spread.median == statistics.median(values)
    assert spread.mean == pytest.approx(statistics.mean(values))


def test_the_table_names_every_level_and_number():
    console = Console(width=120, record=True, file=io.StringIO())
    summary = summed(ladder.problems("heldout", count=10))
    inspection_table.print_table(console, summary, problems.Account(), None)
    text = console.export_text()
    assert "Problems by level" in text
    assert [line.split()[2:] for line in text.splitlines() if line.startswith("│ problems")] == [
        ["│", "4", "│", "2", "│", "4", "│", "10", "│"]
    ]
    assert "tokens" not in text


def test_one_row_a_problem_tells_its_start_points():
    nested = (
        "while True:\n    if x:\n        for y in z:\n            if y:\n                pass\n"
    )
    found = [problem(), problem("a/2", reference="print(1)"), problem("a/3", reference=nested)]
    rows = list(map(inspection.curriculum_row, found))
    assert rows == [
        {
            "problem_id": "a/1",
            "conditional_lines": [2, 4],
            "stages": 2,
            "stride": 1,
            "start_lines": [0, 4],
        },
        {
            "problem_id": "a/2",
            "conditional_lines": [],
            "stages": 0,
            "stride": 0,
            "start_lines": [0],
        },
        {
            "problem_id": "a/3",
            "conditional_lines": [1, 2, 3, 4],
            "stages": 2,
            "stride": 2,
            "start_lines": [0, 3],
        },
    ]


def test_one_problem_is_shown_with_its_start_points_in_the_code():
    assert problem_view.show(problem()) == (
        "a/1  interview  stdin  4 tests\n"
        "\n"
        "add\n"
        "\n"
        "reference, 2 stages; stage 0 gives nothing\n"
        "              1   n = int(input())\n"
        "              2 ? if n > 1:\n"
        "              3       n += 1\n"
        "▶ stage 1     4 ? for i in range(3):\n"
        "              5       n += i\n"
        "              6   print(n)\n"
        "\n"
        "test 1\ninput '1\\n'\noutput '4\\n'\n"
        "\n"
        "test 2\ninput '1\\n'\noutput '4\\n'\n"
        "\n"
        "test 3\ninput '1\\n'\noutput '4\\n'\n"
        "\n"
        "and 1 more test\n"
    )


def test_lines_that_no_test_executes_are_marked_in_the_code():
    run = ReferenceRun(
        problem_id="a/1",
        level="interview",
        outcome="wrong_answer",
        tests_passed=3,
        tests_total=4,
        executed_share=5 / 6,
        unexecuted_lines=(3,),
        detail="test 4: expected 4, got 5",
    )
    text = problem_view.show(problem(), run)
    assert "              2 ? if n > 1:\n              3✕      n += 1\n" in text
    assert (
        "the reference: wrong answer, 3 of 4 tests passed, 83% of its lines executed: "
        "test 4: expected 4, got 5\n"
    ) in text


def test_a_call_a_script_and_a_long_value_are_shown_too():
    suite = TestSuite(
        inputs=([1, "x"],), outputs=(list(range(100)),), fn_name="f", setup_code="a=1"
    )
    text = problem_view.show(
        Problem(problem_id="b", statement="", reference="", level="interview", tests=suite)
    )
    assert "f(1, 'x')\nreturns [0, 1, 2," in text
    assert "… (390 characters)" in text
    assert "setup code\na=1" in text
    assert "no reference solution" in text


@needs_data
@pytest.mark.parametrize("name", ["mbpp.jsonl.gz", "HumanEval.jsonl.gz", "apps"])
def test_every_real_problem_has_start_points_on_lines_of_conditionals(name: str):
    loaded = problems.load(DATA / name)
    for row in map(inspection.curriculum_row, loaded):
        count = len(row["conditional_lines"])
        assert row["stages"] == math.ceil(math.sqrt(count))
        assert len(row["start_lines"]) == max(row["stages"], 1)
        assert row["start_lines"][0] == 0
        for stage, line in enumerate(row["start_lines"][1:], start=1):
            assert line == row["conditional_lines"][row["stride"] * stage]


@needs_data
def test_the_reference_of_human_eval_1_is_marked_where_its_last_stage_starts():
    loaded = problems.load(DATA / "HumanEval.jsonl.gz")
    assert "▶ stage 1    24 ?             if current_depth == 0:" in problem_view.show(loaded[1])


ROW = {"problem_id": "a/1", "inputs": ["1\n"], "outputs": ["2\n"], "fn_name": None}


@pytest.fixture
def a_file_with_one_bad_row(tmp_path: Path) -> str:
    path = tmp_path / "p.jsonl"
    bad = {**ROW, "problem_id": "a/2", "outputs": []}
    rows = [ROW, bad, {**ROW, "problem_id": "a/3", "reference": REFERENCE}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_bad_row_stops_the_command_unless_its_share_is_allowed(
    a_file_with_one_bad_row: str, capsys: pytest.CaptureFixture[str]
):
    told = f'{a_file_with_one_bad_row}:2: 1 input but 0 outputs (problem "a/2")'
    assert cli.run(["data", "inspect", a_file_with_one_bad_row]) == 2
    assert capsys.readouterr().err.startswith(f"stepcoder: {told}; fix the row or pass")
    assert cli.run(["data", "inspect", a_file_with_one_bad_row, "--max-bad-share", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "left out, 1 of 3 rows:" in out
    assert told in out.replace("\n", "")


def test_the_table_is_an_object_with_json_and_names_the_bad_rows(
    a_file_with_one_bad_row: str, capsys: pytest.CaptureFixture[str]
):
    arguments = ["data", "inspect", a_file_with_one_bad_row, "--json", "--max-bad-share", "1"]
    assert cli.run(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["source"] == a_file_with_one_bad_row
    assert told["levels"]["all"]["problems"] == 2
    assert [":2: 1 input but 0 outputs" in row for row in told["bad_rows"]] == [True]


def test_start_points_are_a_table_for_a_reader_and_objects_for_a_program(
    a_file_with_one_bad_row: str, capsys: pytest.CaptureFixture[str]
):
    arguments = ["data", "inspect", a_file_with_one_bad_row, "--max-bad-share", "1", "--curriculum"]
    assert cli.run(arguments) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["problem", "conditionals", "stages", "stride", "start", "lines"],
        ["a/1", "0", "0", "0", "0"],
        ["a/3", "2", "2", "1", "0", "4"],
    ]
    assert cli.run([*arguments, "--json"]) == 0
    assert [json.loads(line)["problem_id"] for line in capsys.readouterr().out.splitlines()] == [
        "a/1",
        "a/3",
    ]
    assert cli.run([*arguments, "--problem", "a/3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["start_lines"] == [0, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--curriculum", "--run"], "--curriculum runs nothing"),
        (["--problem", "a/1", "--json"], "--problem shows text"),
        (["--problem", "a/9", "--max-bad-share", "1"], "no problem 'a/9'; ids look like 'a/1'"),
        (["--tokenizer", "nowhere"], "--tokenizer nowhere: no such folder"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    a_file_with_one_bad_row: str,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
):
    assert cli.run(["data", "inspect", a_file_with_one_bad_row, *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
