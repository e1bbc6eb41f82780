"""What a report reads from a run directory, and how much of it the page shows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_for_tests import config, write_run

from stepcoder_dist import report
from stepcoder_dist.cli.commands import run as stepcoder
from stepcoder_dist.errors import UserError
from stepcoder_dist.host.files.json_lines import append_rows
from stepcoder_dist.report.page_data import MAX_POINTS, MAX_PROBLEMS, MAX_SAMPLES, page_data
from stepcoder_dist.report.run_reading import read_detailed, read_run
from stepcoder_dist.report.sample_lines import drawn


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    """A run directory of the test's own."""
    return Path(shutil.copytree(recorded, tmp_path / "run"))


def short(step: int, problem: str = "p/1", stage: int = 0, **more: Any) -> dict[str, Any]:
    row = {"step": step, "problem_id": problem, "stage": stage, "outcome": "passed", "tokens": 3}
    return row | more


# ── a complete run ──


def test_the_page_has_every_step_problem_and_recorded_sample_of_a_small_run(folder: Path):
    data = page_data(read_run(folder))
    assert data["steps"] == list(range(1, 9))
    assert data["run"] | {"seconds": 0, "updated": 0, "tokens": 0, "written": 0} == {
        "live": 0,
        "written": 0,
        "name": "clamp",
        "folder": "run",
        "planned": 8,
        "done": 8,
        "trained": 96,
        "tokens": 0,
        "seconds": 0,
        "updated": 0,
        "unreadable": {},
    }
    assert data["recorded"] == len(data["samples"]) == 96
    assert {problem["id"] for problem in data["map"]["problems"]} == {
        f"clamp/{i}" for i in range(5)
    }
    assert "Other figures" in [group["title"] for group in data["groups"]]


def test_its_samples_say_what_samples_jsonl_says(folder: Path):
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    by_id = {row["sample_id"]: row for row in rows}
    samples = page_data(read_run(folder))["samples"]
    for sample in samples:
        row = by_id[sample["id"]]
        text = "".join(text for _, _, pieces in sample["lines"] for _, text in pieces)
        assert text == row["source"] + row["tail"]
        fates = [fate for fate, _, _ in sample["lines"]]
        assert fates[-1] == "a"
        for number, fate in enumerate(fates, start=1):
            if fate in "ef":
                assert number in row["kept_lines"]
            assert (fate == "m") <= (number not in row["kept_lines"])
            assert (fate == "n") <= (row["outcome"] == "compile_error")
            assert (fate == "u") <= (not row["coverage_trusted"])
    assert {fate for s in samples for fate, _, _ in s["lines"]} == set("gefmuna")


def test_lines_of_a_sample_are_cut_where_python_cuts_them_and_tokens_where_the_policy_did():
    sample = drawn(
        {
            "step": 1,
            "sample_id": "s",
            "problem_id": "p",
            "stage": 1,
            "outcome": "passed",
            "reward": 1,
            "weights": [0, 0],
            "source": "a=1\r\nif a:\r  b\n",
            "given_chars": 7,
            "tail": "```",
            "token_chars": [2, 5, 0, 2, 2],
            "logprobs": [-1, -1, -1, -1, -1],
            "kept": [1, 1, 3],
            "executed_lines": [1, 2],
            "kept_lines": [1, 2, 3],
            "compiled": True,
            "coverage_trusted": True,
            "tests_passed": 1,
            "tests_total": 1,
            "detail": "",
        }
    )
    assert sample["lines"] == [
        ["g", True, [(-1, "a=1\r\n")]],
        ["e", True, [(-1, "if"), (0, " a"), (1, ":\r")]],
        ["f", False, [(1, "  b"), (3, "\n")]],
        ["a", False, [(3, "`"), (4, "``")]],
    ]
    assert (sample["kept"], sample["silent"]) == ("kmkkk", [2])


def test_the_gain_is_paired_over_problems_from_sft_to_the_last_evaluation(folder: Path):
    heldout = page_data(read_run(folder))["heldout"]
    assert heldout["labels"] == ["sft", "rl"]
    assert [(row["level"], row["label"]) for row in heldout["rows"]][-2:] == [
        ("all", "sft"),
        ("all", "rl"),
    ]
    assert heldout["gains"][-1]["mean"] == 0.5
    assert heldout["gains"][-1]["problems"] == 8
    low, high = heldout["gains"][-1]["interval"]
    assert 0 < low < 0.5 < high < 1


def test_scores_of_evaluations_during_training_are_a_chart_with_points_of_their_own(folder: Path):
    scores = [(0, 0.25), (4, 0.5), (8, 0.75)]
    append_rows(
        folder / "heldout.jsonl",
        (
            {"step": step, "pass_at_1": score, "levels": {"interview": {"pass_at_1": score / 2}}}
            for step, score in scores
        ),
    )
    data = page_data(read_run(folder))
    assert data["steps"] == list(range(9))
    assert data["columns"]["heldout/pass_at_1"] == [
        *(0.25, None, None, None, 0.5, None, None, None, 0.75)
    ]
    assert data["columns"]["heldout/pass_at_1/interview"][4] == 0.25
    assert data["columns"]["reward"][0] is None
    assert data["run"]["done"] == 8
    learning = next(group for group in data["groups"] if group["title"] == "Learning")
    (chart,) = (chart for chart in learning["charts"] if chart["title"] == "Held-out pass@1")
    assert chart["names"] == ("heldout/pass_at_1", "heldout/pass_at_1/interview")
    assert (chart["unit"], chart["sparse"]) == ("%", True)


# ── a run in progress, a damaged one, none ──


def test_a_torn_last_line_is_no_step_and_no_complaint(folder: Path):
    for name in ("metrics.jsonl", "samples.jsonl"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-40])
    data = page_data(read_run(folder))
    assert data["steps"] == list(range(1, 8))
    assert data["run"]["trained"] == 95
    assert data["run"]["unreadable"] == {}


def test_a_damaged_line_in_the_middle_is_left_out_and_counted(folder: Path):
    path = folder / "samples.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = b'{"step": 1, "\xff\n'
    lines[5] = b"[]\n"
    lines[7] = json.dumps(short(1, outcome="unheard of")).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    data = page_data(read_run(folder))
    assert data["run"]["trained"] == 93
    assert data["run"]["unreadable"] == {"samples.jsonl": 3}


def test_a_detailed_row_that_does_not_fit_together_is_recorded_but_not_shown(folder: Path):
    path = folder / "samples.jsonl"
    first, rest = path.read_text().split("\n", 1)
    row = json.loads(first)
    row["token_chars"][0] += 1
    path.write_text(json.dumps(row) + "\n" + rest)
    data = page_data(read_run(folder))
    assert (data["recorded"], len(data["samples"])) == (96, 95)


@pytest.mark.parametrize(
    ("key", "value"),
    [("reward", "NaN"), ("reward", "1" + "0" * 400), ("weights", "[1e999]"), ("kept", "[1e999]")],
)
def test_a_detailed_row_with_a_number_that_is_none_is_recorded_but_not_shown(
    folder: Path, key: str, value: str
):
    path = folder / "samples.jsonl"
    first, rest = path.read_text().split("\n", 1)
    odd = json.dumps(json.loads(first) | {key: "here"}).replace('"here"', value)
    path.write_text(f"{odd}\n{rest}")
    data = page_data(read_run(folder))
    assert (data["recorded"], len(data["samples"])) == (96, 95)
    assert stepcoder(["report", str(folder)]) == 0


def test_rows_whose_numbers_no_float_holds_are_left_out_and_counted(folder: Path):
    with (folder / "samples.jsonl").open("a") as file:
        file.write('{"step": 1e999, "stage": 0, "problem_id": "p", "outcome": "passed"}\n')
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1' + "0" * 400 + "}\n")
    assert read_run(folder).unreadable == {"samples.jsonl": 1, "metrics.jsonl": 1}


def test_rows_that_a_resumption_cut_off_meanwhile_are_left_out(folder: Path):
    places = read_run(folder).samples.detailed[:2]
    path = folder / "samples.jsonl"
    path.write_bytes(path.read_bytes()[: places[1].offset + 10])
    assert len(read_detailed(folder, places)) == 1


def test_flags_of_more_tokens_than_there_are_are_not_laid_out():
    row = {"source": "", "tail": "", "token_chars": [], "logprobs": [], "given_chars": 0}
    with pytest.raises(ValueError, match="do not fit the text"):
        drawn(row | {"kept": [10**15]})


@pytest.mark.parametrize("missing", ["config.toml", "metrics.jsonl", "samples.jsonl", "eval"])
def test_whatever_is_missing_the_rest_is_shown(folder: Path, missing: str):
    path = folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = report.write(folder)
    assert page.stat().st_size > 10_000


def test_a_run_before_its_first_step_has_a_page(tmp_path: Path):
    (tmp_path / "config.toml").write_text('name = "young"\n')
    (tmp_path / "metrics.jsonl").touch()
    data = page_data(read_run(tmp_path))
    assert (data["run"]["name"], data["steps"], data["samples"]) == ("young", [], [])
    assert report.write(tmp_path).exists()


def test_figures_that_are_no_numbers_are_gaps(tmp_path: Path):
    lines = '{"step": 1, "a": NaN, "b": 1, "c": "x"}\n{"step": 2, "a": 2, "b": Infinity}\n'
    (tmp_path / "metrics.jsonl").write_text(lines)
    assert page_data(read_run(tmp_path))["columns"] == {"a": [None, 2.0], "b": [1.0, None]}
    report.write(tmp_path)


@pytest.mark.parametrize("command", ["ledger", "report", "samples", "trace"])
def test_a_run_directory_that_is_not_there_is_named(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert stepcoder([command, str(tmp_path / "nowhere")]) == 2
    said = f"stepcoder: {tmp_path}/nowhere: no such run directory; "
    assert capsys.readouterr().err.startswith(said)


def test_what_is_no_run_directory_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").touch()
    for arguments, said in (
        ([str(tmp_path / "nowhere")], "no such run directory"),
        ([str(tmp_path / "file")], "no such run directory"),
        ([str(tmp_path)], "not a run directory"),
    ):
        assert stepcoder(["report", *arguments]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert said in lines[0]


def test_out_names_the_file_and_one_that_cannot_be_written_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert stepcoder(["report", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'page.html'}\n"
    assert not (folder / "report.html").exists()
    assert stepcoder(["report", str(folder), "--out", str(tmp_path / "no" / "page.html")]) == 2
    assert stepcoder(["report", str(folder), "--out", str(tmp_path)]) == 2
    with pytest.raises(UserError, match="cannot be written"):
        report.write(folder, tmp_path / "no" / "page.html")


def test_a_report_that_cannot_be_made_does_not_fail_the_run(folder: Path, tmp_path: Path):
    (folder / "report.html").mkdir()
    said = Console(record=True, file=(tmp_path / "said").open("w"))
    with report.written_at_the_end(folder, said):
        pass
    assert "no report" in said.export_text()


def test_a_run_that_fails_has_its_report_and_its_own_error(folder: Path):
    with (
        pytest.raises(RuntimeError, match="the run's own"),
        report.written_at_the_end(folder, Console(quiet=True)),
    ):
        raise RuntimeError("the run's own")
    assert (folder / "report.html").exists()


# ── a large run ──


def test_a_long_run_is_shown_in_bounds_that_the_page_can_name(recorded: Path, tmp_path: Path):
    steps = 2000
    detailed = json.loads((recorded / "samples.jsonl").read_text().splitlines()[0])
    append_rows(
        tmp_path / "metrics.jsonl", ({"step": s, "reward": float(s)} for s in range(1, steps + 1))
    )
    rows = []
    for step in range(1, steps + 1):
        rows += [short(step, f"p/{(step * 4 + i) % 500}", stage=1) for i in range(4)]
        rows += [detailed | {"step": step, "sample_id": f"s{step}"}] if step % 2 else []
        rows += [detailed | {"step": step, "outcome": "timeout"}] if step == 777 else []
    append_rows(tmp_path / "samples.jsonl", rows)
    data = page_data(read_run(tmp_path))
    assert len(data["steps"]) <= MAX_POINTS
    assert data["steps"][-1] == steps
    assert data["columns"]["reward"][0] == pytest.approx((data["bin"] + 1) / 2)
    assert (len(data["map"]["problems"]), data["map"]["of"]) == (MAX_PROBLEMS, 501)
    assert (len(data["samples"]), data["recorded"]) == (MAX_SAMPLES, 1001)
    shown = [sample["step"] for sample in data["samples"]]
    assert shown == sorted(shown)
    assert max(b - a for a, b in zip([0, *shown], [*shown, steps], strict=True)) < 20
    assert report.write(tmp_path).stat().st_size < 3_000_000


def test_a_program_as_long_as_a_book_is_left_out(folder: Path):
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    rows[0]["detail"] = "x" * 200_000
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = page_data(read_run(folder))
    assert (data["recorded"], len(data["samples"])) == (96, 95)


def test_problems_stand_on_the_map_as_a_stair_those_that_moved_on_first_on_top(tmp_path: Path):
    visits = [("late", 1, 1), ("late", 9, 0), ("soon", 1, 1), ("soon", 3, 0), ("never", 1, 1)]
    rows = [short(step, problem, stage) for problem, step, stage in visits]
    append_rows(tmp_path / "samples.jsonl", [*rows, short(1, "deep", 2)])
    problems = page_data(read_run(tmp_path))["map"]["problems"]
    assert [problem["id"] for problem in problems] == ["deep", "soon", "late", "never"]
    assert problems[1]["visits"] == [[1, 1, 1, 1], [3, 0, 1, 1]]


def test_the_command_imports_nothing_heavy(folder: Path):
    probe = (
        "import sys; from stepcoder_dist.cli.commands import run; "
        f"code = run(['report', {str(folder)!r}]); "
        "print(code, sorted({'ray', 'torch', 'vllm', 'deepspeed', 'docker', 'transformers',"
        " 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_no_key_of_train_is_needed_to_read_an_older_run(folder: Path):
    (folder / "config.toml").write_text("not = toml = at all")
    data = page_data(read_run(folder))
    assert (data["run"]["name"], data["run"]["planned"]) == ("run", None)
    assert config(folder).train.detailed_samples == 16
