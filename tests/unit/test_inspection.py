"""What `stepcoder data inspect` shows."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from stepcoder_dist import inspection, ladder, problems
from stepcoder_dist.records import Problem, TestSuite

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real problem sets are not at {DATA}")

REFERENCE = "n = int(input())\nif n > 1:\n    n += 1\nfor i in range(3):\n    n += i\nprint(n)\n"


def problem(
    name: str = "a/1", *, reference: str = REFERENCE, level: str = "interview", tests: int = 4
) -> Problem:
    suite = TestSuite(inputs=("1\n",) * tests, outputs=("4\n",) * tests)
    return Problem(problem_id=name, statement="add", reference=reference, level=level, tests=suite)


def test_a_set_is_summed_up_by_level_and_kind():
    script = TestSuite(inputs=(), outputs=(), test_code="assert f(1)", entry_point="f")
    checked = Problem(
        problem_id="a/3", statement="", reference="", level="competition", tests=script
    )
    easy, hard, every = inspection.summarise([problem(), problem("a/2", tests=2), checked])
    assert (easy.level, hard.level, every.level) == ("interview", "competition", "all")
    assert easy.kinds == {"stdin": 2, "call": 0, "script": 0}
    assert every.kinds == {"stdin": 2, "call": 0, "script": 1}
    assert (easy.without_reference, hard.without_reference) == (0, 1)
    assert easy.tests == inspection.Spread(least=2, median=3, mean=3, largest=4)
    assert str(every.tests) == "1–4, median 2"
    assert str(easy.conditionals) == "2"
    assert str(easy.reference_lines) == "6"
    assert every.problems == 3


def test_the_table_names_every_level_and_number():
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(inspection.summary(ladder.problems("heldout", count=10)))
    text = console.export_text()
    assert "Problems by level" in text
    assert [line.split()[2:] for line in text.splitlines() if line.startswith("│ problems")] == [
        ["│", "4", "│", "2", "│", "4", "│", "10", "│"]
    ]


def test_one_row_a_problem_tells_its_start_points():
    nested = (
        "while True:\n    if x:\n        for y in z:\n            if y:\n                pass\n"
    )
    rows = list(
        inspection.curriculum_rows(
            [problem(), problem("a/2", reference="print(1)"), problem("a/3", reference=nested)]
        )
    )
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
    assert inspection.show(problem()) == (
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


def test_a_call_a_script_and_a_long_value_are_shown_too():
    suite = TestSuite(
        inputs=([1, "x"],), outputs=(list(range(100)),), fn_name="f", setup_code="a=1"
    )
    text = inspection.show(
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
    for row in inspection.curriculum_rows(loaded):
        count = len(row["conditional_lines"])
        assert row["stages"] == math.ceil(math.sqrt(count))
        assert len(row["start_lines"]) == max(row["stages"], 1)
        assert row["start_lines"][0] == 0
        for stage, line in enumerate(row["start_lines"][1:], start=1):
            assert line == row["conditional_lines"][row["stride"] * stage]


@needs_data
def test_the_reference_of_human_eval_1_is_marked_where_its_last_stage_starts():
    loaded = problems.load(DATA / "HumanEval.jsonl.gz")
    assert "▶ stage 1    24 ?             if current_depth == 0:" in inspection.show(loaded[1])
