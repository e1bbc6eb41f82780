"""`stepcoder samples`: one sample of a run in a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepcoder_dist.cli import commands as cli

SHORT = {"step": 3, "problem_id": "p/1", "level": "interview", "stage": 1, "weights": [2, 2]}
PASSED = {**SHORT, "sample_id": "s1", "outcome": "passed", "reward": 1.0, "kept_share": 1.0}
WHOLE = {
    **SHORT,
    "sample_id": "s2",
    "outcome": "wrong_answer",
    "reward": -0.3,
    "tokens": 6,
    "kept_share": 4 / 6,
    # "f", " x:\n b\n", an emoji of two tokens, a masked line, the fence, end of sequence
    "source": "a\nif x:\n b\n#🙂\n c\x1b[2J\n",
    "given_chars": 3,
    "tail": "```",
    "token_chars": [1, 7, 0, 2, 8, 3, 0],
    "logprobs": [-0.123, -1.0, -2.0, -0.25, -0.5, 0.0, -0.01],
    "kept": [4, 1, 2],
    "executed_lines": [1, 2, 3],
    "kept_lines": [1, 2, 3, 4],
    "compiled": True,
    "coverage_trusted": True,
    "tests_passed": 1,
    "tests_total": 3,
    "detail": "test 2: expected 1, got \x1b[31m2",
}


@pytest.fixture
def a_run(tmp_path: Path) -> Path:
    rows = [PASSED, WHOLE]
    rows += [
        {**WHOLE, "sample_id": "untrusted", "coverage_trusted": False},
        {**WHOLE, "sample_id": "refused", "compiled": False},
        {**WHOLE, "sample_id": "damaged", "given_chars": 4},
    ]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "samples.jsonl").write_text("\n".join([*lines, "torn", '{"sample_id": "s3']))
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *arguments: Any) -> list[str]:
    assert cli.run(["samples", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_sample_is_shown_line_by_line_and_cannot_steer_the_terminal(
    a_run: Path, capsys: pytest.CaptureFixture[str]
):
    assert shown(capsys, a_run, "s2") == [
        "s2  step 3  p/1  stage 1  wrong answer  reward -0.3  67% of tokens trained",
        "1 of 3 tests passed: test 2: expected 1, got \\x1b[31m2",
        (
            "┊ given   ✓ executed   ↳ kept with its statement or block   ✕ not executed, masked   "
            "· after the program"
        ),
        "",
        "   1 ┊ a",
        "   2 ✓ if x:",
        "   3 ✓  b",
        "   4 ↳ #🙂",
        "   5 ✕  c\\x1b[2J",
        "   6 · ```",
    ]


def test_with_tokens_each_stands_below_the_line_on_which_it_begins(
    a_run: Path, capsys: pytest.CaptureFixture[str]
):
    assert shown(capsys, a_run, "s2", "--tokens")[4:] == [
        "   1 ┊ a",
        "   2 ✓ if x:",
        "           0  trained   -0.123  'f'",
        "           1  trained   -1.000  ' x:\\n b\\n'",
        "   3 ✓  b",
        "   4 ↳ #🙂",
        "           2  trained   -2.000  (prints nothing by itself)",
        "           3  trained   -0.250  '#🙂'",
        "           4  masked    -0.500  '\\n c\\x1b[2J\\n'",
        "   5 ✕  c\\x1b[2J",
        "   6 · ```",
        "           5  trained    0.000  '```'",
        "           6  trained   -0.010  (prints nothing by itself)",
    ]


def test_untrusted_coverage_and_programs_that_do_not_compile_have_marks_of_their_own(
    a_run: Path, capsys: pytest.CaptureFixture[str]
):
    assert [line[5:6] for line in shown(capsys, a_run, "untrusted")[4:]] == list("┊????·")
    assert [line[5:6] for line in shown(capsys, a_run, "refused")[4:]] == list("┊!!!!·")


def test_without_an_id_the_samples_that_were_kept_in_full_are_listed(
    a_run: Path, capsys: pytest.CaptureFixture[str]
):
    found = [line.split()[0] for line in shown(capsys, a_run)]
    assert found == ["s2", "untrusted", "refused", "damaged"]


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("s9", "no sample 's9'; `stepcoder samples"),
        ("s1", "only the outcome, not the program, of sample 's1'"),
        ("damaged", "sample 'damaged' is damaged (token lengths, flags and log-probs do not fit"),
    ],
)
def test_a_sample_that_cannot_be_shown_is_one_line(
    a_run: Path, sample: str, message: str, capsys: pytest.CaptureFixture[str]
):
    assert cli.run(["samples", str(a_run), sample]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_folder_that_is_no_run_or_has_no_sample_in_full_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.run(["samples", str(tmp_path)]) == 2
    assert "not a run directory" in capsys.readouterr().err
    (tmp_path / "samples.jsonl").write_text(json.dumps(PASSED) + "\n")
    assert cli.run(["samples", str(tmp_path)]) == 2
    assert "holds no sample in full yet" in capsys.readouterr().err
