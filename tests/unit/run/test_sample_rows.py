"""What samples.jsonl keeps of a trained sample."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_for_tests import config, make_run, run_loops, write_run

from stepcoder_dist.config import CreditConfig
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.method.credit_rules.credited_lines import CreditedLines
from stepcoder_dist.records import (
    Completion,
    LineStructure,
    Outcome,
    Program,
    RolloutRequest,
    TestResult,
    Ticket,
    Trajectory,
    Verdict,
)
from stepcoder_dist.report import sample_lines
from stepcoder_dist.run import sample_rows
from stepcoder_dist.run.run_folder import RunFolder

SHORT = {
    "step", "sample_id", "problem_id", "level", "stage", "outcome", "reward", "weights", "tokens",
    "kept_share",
}  # fmt: skip


def sample(index: int = 0, outcome: Outcome = Outcome.PASSED) -> JudgedSample:
    """`if a:` given; five tokens write `b`, an emoji of two tokens, a line end, the fence."""
    ticket = Ticket(
        sample_id=f"s000000-0000-{index:04d}",
        group="g",
        problem_id="p/1",
        stage=1,
        seed=0,
        planned_step=0,
    )
    ids = np.arange(5, dtype=np.int32)
    logprobs = np.array([-0.12345, -1, -2, 0, -0.5], dtype=np.float32)
    request = RolloutRequest(
        ticket=ticket, prompt_ids=ids, given="if a:\n", temperature=1.0, top_p=1.0, max_new_tokens=5
    )
    completion = Completion(
        sample_id=ticket.sample_id,
        text=" b#🙂\n```",
        token_ids=ids,
        char_spans=np.array([[0, 3], [3, 4], [3, 4], [4, 8], [8, 8]], dtype=np.int32),
        program=Program(source="if a:\n b#🙂\n", given_chars=6, code_chars=5, fence_chars=(5, 8)),
        token_lines=np.array([2, 2, 2, 0, 0], dtype=np.int32),
        logprobs=logprobs,
        ended=True,
        oldest_weights=0,
        newest_weights=0,
    )
    structure = LineStructure(
        code_lines=frozenset({1, 2}), follows=((1,), (2,)), comment_lines=frozenset()
    )
    verdict = Verdict(
        outcome=outcome,
        tests=(TestResult(outcome=outcome, executed_lines=frozenset({1})),),
        structure=structure,
        coverage_trusted=True,
        wall_ms=1.0,
        detail="test 1: expected 1, got 2",
    )
    trajectory = Trajectory(
        ticket=ticket,
        level="interview",
        prompt_ids=ids,
        completion_ids=ids,
        rollout_logprobs=logprobs,
        keep=np.array([False, False, False, True, True]),
        reward=1.0,
        outcome=outcome,
        temperature=1.0,
        oldest_weights=0,
        newest_weights=0,
    )
    first = frozenset({1})
    return JudgedSample(
        trajectory=trajectory,
        request=request,
        completion=completion,
        verdict=verdict,
        lines=CreditedLines(rewarded=first, blamed=first),
        tests_total=3,
    )


def rows(step: int, samples: list[JudgedSample], **train: object) -> list[dict]:
    return list(sample_rows.sample_rows(step, samples, config(Path("unused"), **train)))


def test_a_whole_row_tells_source_tokens_mask_lines_and_verdict():
    (row,) = rows(1, [sample()])
    detail = {key: value for key, value in row.items() if key not in SHORT}
    assert detail == {
        "source": "if a:\n b#🙂\n",
        "given_chars": 6,
        "tail": "```",
        "token_chars": [3, 0, 1, 4, 0],
        "logprobs": [-0.123, -1.0, -2.0, 0.0, -0.5],
        "kept": [0, 3, 2],
        "executed_lines": [1],
        "kept_lines": [1],
        "compiled": True,
        "coverage_trusted": True,
        "tests_passed": 1,
        "tests_total": 3,
        "detail": "test 1: expected 1, got 2",
    }


def test_with_the_mask_off_every_line_is_kept():
    (row,) = rows(1, [replace(sample(), lines=None)])
    assert row["kept_lines"] == [1, 2]


def test_where_the_sign_decides_a_row_has_both_line_sets_and_keeps_what_either_keeps():
    lines = CreditedLines(rewarded=frozenset({1}), blamed=frozenset({2}))
    trajectory = replace(
        sample().trajectory,
        keep=np.array([True, False, False, False, False]),
        blame=np.array([False, True, True, False, True]),
    )
    (row,) = rows(1, [replace(sample(), trajectory=trajectory, lines=lines)])
    assert (row["rewarded_lines"], row["blamed_lines"]) == ([1], [2])
    assert row["kept_lines"] == [1, 2]
    assert row["kept"] == [3, 1, 1]
    assert row["kept_share"] == 0.8


def test_of_a_step_only_so_many_are_whole_and_every_outcome_is_among_them():
    outcomes = [Outcome.PASSED] * 20 + [Outcome.TIMEOUT] + [Outcome.WRONG_ANSWER] * 20
    batch = [sample(i, outcome) for i, outcome in enumerate(outcomes)]
    written = rows(7, batch, detailed_samples=6)
    whole = [row for row in written if "source" in row]
    assert [row["sample_id"] for row in written] == [judged.sample_id for judged in batch]
    assert len(whole) == 6
    assert {row["outcome"] for row in whole} == {"passed", "timeout", "wrong_answer"}
    assert all(set(row) == SHORT for row in written if "source" not in row)
    assert [row for row in rows(7, batch, detailed_samples=0) if "source" in row] == []


def test_a_run_of_ten_thousand_steps_keeps_detail_of_280_and_never_stops_to():
    kept = [step for step in range(1, 10_001) if sample_rows.keeps_detail(step)]
    assert len(kept) == 280
    assert kept[:100] == list(range(1, 101))
    assert kept[98:104] == [99, 100, 110, 120, 130, 140]
    assert kept[-3:] == [9800, 9900, 10000]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = write_run(tmp_path_factory.mktemp("run"), None)
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_the_loops_record_rows_whose_parts_fit_together(recorded: list[dict]):
    assert len(recorded) == 8 * 12
    for row in recorded:
        text = row["source"] + row["tail"]
        assert row["given_chars"] + sum(row["token_chars"]) == len(text)
        assert len(row["token_chars"]) == len(row["logprobs"]) == sum(row["kept"]) == row["tokens"]
        assert row["kept_share"] == pytest.approx(sum(row["kept"][::2]) / row["tokens"])
        assert row["tests_total"] == 3
    assert {row["outcome"] for row in recorded} == {
        "passed", "wrong_answer", "compile_error", "runtime_error",
    }  # fmt: skip
    assert {row["coverage_trusted"] for row in recorded} == {True, False}


def test_the_loops_under_another_rule_record_rows_that_the_report_can_draw(tmp_path: Path):
    update = {"credit": CreditConfig(rule="failing_tests")}
    write_run(tmp_path, config(tmp_path, steps=1).model_copy(update=update))
    written = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    signed = [row for row in written if "blamed_lines" in row]
    # of a program that fails every test, what ran is blamed and nothing rewarded
    assert {row["outcome"] for row in signed} <= {"wrong_answer", "runtime_error"}
    assert signed
    for row in written:
        assert sample_lines.drawn(row)["kept"].count("k") == sum(row["kept"][::2])
    for row in signed:
        assert set(row["kept_lines"]) == {*row["rewarded_lines"], *row["blamed_lines"]}
        assert row["blamed_lines"]


def test_four_steps_in_one_go_record_the_same_bytes_as_two_and_two_resumed(tmp_path: Path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    write_run(whole, config(whole, steps=4))
    write_run(parts, config(parts, steps=2))
    settings = config(parts, steps=4)
    run, sandbox = make_run(settings)
    run_loops(run, sandbox, RunFolder(parts, settings), resume=True)
    recorded = [(folder / "samples.jsonl").read_bytes() for folder in (whole, parts)]
    assert recorded[0].count(b"source") == 48
    assert recorded[0] == recorded[1]
