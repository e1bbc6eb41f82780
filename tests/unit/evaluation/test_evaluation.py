"""pass@k and the table's figures."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from evaluated_samples import sample
from run_for_tests import config, problems

from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.evaluation.paired_gain import paired_gain, sign_test
from stepcoder_dist.evaluation.pass_at_k import pass_at_k, scores
from stepcoder_dist.evaluation.roll_out import evaluate
from stepcoder_dist.evaluation.table import scores_table
from stepcoder_dist.loop.fakes import ByteTokenizer, FakeSampler
from stepcoder_dist.records import Outcome
from stepcoder_dist.text.program import PromptWriter


def test_pass_at_k_is_the_unbiased_estimator():
    assert pass_at_k(5, 0, 1) == 0.0
    assert pass_at_k(5, 5, 1) == 1.0
    assert pass_at_k(4, 1, 2) == pytest.approx(1 - 3 / 6)  # C(3,2)/C(4,2)
    assert pass_at_k(3, 2, 2) == 1.0
    with pytest.raises(ValueError, match="at least 3 samples"):
        pass_at_k(2, 1, 3)


def test_problems_weigh_the_same_however_many_samples_they_have():
    rows = scores([sample("a", Outcome.PASSED)] + [sample("b", Outcome.WRONG_ANSWER)] * 3, ks=(1,))
    assert rows[-1].pass_at == {1: 0.5}
    assert rows[-1].outcomes[Outcome.WRONG_ANSWER] == 0.75


def test_there_is_a_row_for_each_level_that_occurs_and_one_for_all():
    rows = scores(
        [
            sample("a", Outcome.PASSED, "introductory"),
            sample("b", Outcome.COMPILE_ERROR, "competition"),
        ],
        ks=(1,),
    )
    assert [(row.level, row.problems, row.pass_at[1]) for row in rows] == [
        ("introductory", 1, 1.0),
        ("competition", 1, 0.0),
        ("all", 2, 0.5),
    ]


def test_a_sandbox_fault_counts_for_nothing_but_itself():
    (row, _) = scores([sample("a", Outcome.PASSED), sample("a", None)], ks=(1,))
    assert (row.pass_at[1], row.faults, row.samples) == (1.0, 1, 2)


def test_the_interval_holds_the_mean_and_repeats():
    samples = [sample(f"p{i}", Outcome.PASSED if i % 4 else Outcome.TIMEOUT) for i in range(40)]
    first, second = scores(samples, ks=(1,))[-1], scores(samples, ks=(1,))[-1]
    low, high = first.interval
    assert low < first.pass_at[1] == 0.75 < high
    assert first.interval == second.interval


PASSED, WRONG = Outcome.PASSED, Outcome.WRONG_ANSWER


def test_each_k_has_its_interval_over_the_problems_with_that_many_judged_samples():
    samples = [sample(f"p{i}", PASSED if n < i % 3 else WRONG) for i in range(30) for n in range(4)]
    samples += [sample("faulty", PASSED), *[sample("faulty", None)] * 3, sample("lost", None)]
    row = scores(samples, ks=(1, 4, 5))[-1]
    assert (row.problems, row.lost_problems, row.faults) == (31, 1, 4)
    assert row.problems_at == {1: 31, 4: 30, 5: 0}
    assert row.pass_at.keys() == row.intervals.keys() == {1, 4}
    assert row.pass_at[1] == pytest.approx((20 * 0.375 + 1) / 31)
    assert row.pass_at[4] == pytest.approx(20 / 30)
    assert row.intervals[4][0] < row.pass_at[4] < row.intervals[4][1]
    assert row.interval == row.intervals[1]


def test_a_table_says_which_figures_lack_samples_that_the_sandbox_lost():
    samples = [*[sample("a", PASSED)] * 2, sample("b", WRONG), sample("b", None), sample("c", None)]
    samples += [*[sample("d", Outcome.OUT_OF_MEMORY)] * 2]
    table = scores_table([("m", scores(samples, ks=(1, 2)))], too_long=4)
    assert str(table.caption).splitlines() == [
        "4 more problems were not asked: their prompts are too long",
        "m: 1 of 4 problems have no judged sample and count for nothing",
        (
            "m: pass@2 is over 2 of 3 problems: the sandbox failed on samples of the others, which "
            "have fewer than 2"
        ),
        "m: timeout holds 40.0% out of memory and 0.0% with too much output",
    ]
    cells = [list(column.cells)[-1] for column in table.columns]
    assert cells[:7] == ["all", "m", "3", "33.3%", "0%–100%", "50.0%", "0%–100%"]


def test_a_gain_is_the_mean_of_the_differences_problem_by_problem():
    before = [sample("a", WRONG), sample("b", PASSED), sample("b", WRONG), sample("c", PASSED)]
    after = [sample("a", PASSED), sample("b", PASSED), sample("b", PASSED), sample("c", WRONG)]
    found = paired_gain(before, after)
    assert (found.problems, found.better, found.worse) == (3, 2, 1)
    assert found.gain == pytest.approx((1 + 0.5 - 1) / 3)
    assert found.interval[0] < 0 < found.interval[1]
    assert not found.told_from_none


def test_a_problem_that_one_evaluation_did_not_judge_is_left_out_of_the_gain():
    found = paired_gain(
        [sample("a", WRONG), sample("b", WRONG)], [sample("a", PASSED), sample("b", None)]
    )
    assert (found.problems, found.gain) == (1, 1.0)
    nothing = paired_gain([], [sample("a", PASSED)])
    assert (nothing.problems, nothing.gain, nothing.interval, nothing.p_value) == (
        0,
        0.0,
        (0.0, 0.0),
        1.0,
    )


def test_the_interval_of_a_paired_gain_is_narrower_than_the_scores_own():
    names = [f"p{n}" for n in range(60)]
    before = [sample(name, PASSED if n % 2 else WRONG) for n, name in enumerate(names)]
    after = [
        sample(name, PASSED if n % 2 or n % 12 == 0 else WRONG) for n, name in enumerate(names)
    ]
    found = paired_gain(before, after)
    assert found.gain == pytest.approx(5 / 60)
    assert 0 < found.interval[0] < found.gain < found.interval[1] < 0.2
    assert found.told_from_none
    assert str(found).startswith("+8.3 points (95% +")


def test_the_sign_test_is_exact():
    assert sign_test(0, 0) == 1.0
    assert sign_test(5, 0) == pytest.approx(2 / 32)
    assert sign_test(1, 4) == pytest.approx(2 * (1 + 5) / 32)
    assert sign_test(3, 3) == 1.0


class Counting(ByteTokenizer):
    """Counts what it is asked."""

    calls = 0

    def encode(self, *arguments: Any) -> Any:
        self.calls += 1
        return super().encode(*arguments)


class NoSandbox:
    async def judge(self, *_: object, **__: object) -> Any:
        raise SandboxFault("no engine answers")


def test_an_evaluation_encodes_a_prompt_once_whatever_the_number_of_its_samples():
    settings = config(Path("unused"))
    evaluation = settings.evaluation.model_copy(update={"samples_per_problem": 4})
    settings = settings.model_copy(update={"evaluation": evaluation})
    tokenizer, sampler = Counting(), FakeSampler(lambda _: "print(1)\n```", width=2)
    writer = PromptWriter(tokenizer, settings.prompt)
    samples = asyncio.run(evaluate(settings, problems(5), writer, sampler, NoSandbox()))
    assert tokenizer.calls == 5
    assert [s.sample_id for s in samples[:5]] == [
        "eval/clamp/0/0000",
        "eval/clamp/0/0001",
        "eval/clamp/0/0002",
        "eval/clamp/0/0003",
        "eval/clamp/1/0000",
    ]
