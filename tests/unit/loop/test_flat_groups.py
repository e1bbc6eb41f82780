"""DAPO's over-sampling: flat groups are dropped, and others sampled until the step is full."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from runs_for_tests import REFERENCE, Scene, problems, rows

from stepcoder_dist.config import RunConfig
from stepcoder_dist.loop import metrics
from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.loop.fakes import ByteTokenizer, FakeLearner, FakeSampler
from stepcoder_dist.loop.planner import ProblemOrder, is_spare, sample_seed
from stepcoder_dist.loop.run import Run
from stepcoder_dist.records import (
    Outcome,
    RolloutRequest,
    TestResult,
    TestSuite,
    Trajectory,
    Verdict,
)
from stepcoder_dist.run import ledger_report, session
from stepcoder_dist.run.run_folder import checkpoints
from stepcoder_dist.run.sinks.metric_sinks import JsonLines
from stepcoder_dist.text.program import PromptWriter

STALENESS = [(0, False), (1, False), (1, True), (2, True)]
"""With whether the lag is strict."""


def config(
    *, staleness: int = 0, strict: bool = False, most: float = 3.0, **train: Any
) -> RunConfig:
    """2 problems of 2 samples a step."""
    return RunConfig.model_validate(
        {
            "name": "flat",
            "method": "dapo",
            "deterministic": strict,
            "model": {"path": "none"},
            "problems": {"train": "none", "heldout": "none"},
            "curriculum": {"kind": "cccs", "alpha": 0.9, "threshold": 0.5},
            "sampling": {"samples_per_problem": 2, "max_new_tokens": 200},
            "learner": {"samples_per_step": 4, "minibatch_samples": 4, "max_oversampling": most},
            "train": {"steps": 6, "max_staleness": staleness, "stall_s": 20, **train},
        }
    )


def by_seed(request: RolloutRequest) -> str:
    """Right for every second seed, so that half of the groups of two are flat."""
    rest = REFERENCE[len(request.given) :]
    return (rest if request.ticket.seed % 2 else rest.replace("print(n)", "print(0)")) + "```"


class Reads:
    """An executor that fails what prints 0."""

    async def judge(self, source: str, tests: TestSuite, *, problem_id: str) -> Verdict:
        del problem_id
        await asyncio.sleep(0)
        outcome = Outcome.WRONG_ANSWER if "print(0)" in source else Outcome.PASSED
        test = TestResult(outcome=outcome, executed_lines=frozenset({1}))
        return Verdict(
            outcome=outcome,
            tests=(test,) * len(tests),
            structure=None,
            coverage_trusted=False,
            wall_ms=1.0,
        )


def train(
    path: Path, settings: RunConfig, *, resume: bool = False, policy: Any = by_seed
) -> tuple[Run, list[Sequence[Trajectory]]]:
    folder = Scene(path, settings).folder
    learner = FakeLearner()
    pools = session.Pools(FakeSampler(policy, width=2), Reads())
    writer = PromptWriter(ByteTokenizer(), settings.prompt)
    run = session.compose(settings, problems(8), writer, pools, learner)

    async def scenario() -> None:
        if resume:
            await session.restore(run, folder)
        sinks = [JsonLines(path / "metrics.jsonl")]
        await session.train(run, folder, sinks, Console(quiet=True))

    try:
        asyncio.run(scenario())
    finally:
        folder.close()
    return run, learner.batches


def scores(batch: Sequence[Trajectory]) -> dict[str, list[float]]:
    groups = defaultdict(list)
    for trajectory in batch:
        groups[trajectory.ticket.group].append(trajectory.reward)
    return groups


def what(batches: list[Sequence[Trajectory]]) -> list[list[tuple[object, ...]]]:
    return [[(t.ticket, t.reward, t.oldest_weights) for t in batch] for batch in batches]


@pytest.mark.parametrize(("staleness", "strict"), STALENESS)
def test_a_step_is_full_of_groups_that_teach_something(
    tmp_path: Path, staleness: int, strict: bool
):
    run, batches = train(tmp_path, config(staleness=staleness, strict=strict, most=20))

    assert len(batches) == 6
    for batch in batches:
        assert [len(set(rewards)) for rewards in scores(batch).values()] == [2, 2]
    dropped = run.book.fates[Fate.REJECTED]
    assert run.book.fates == {Fate.TRAINED: 24, Fate.REJECTED: dropped}
    assert dropped > 0
    ledger = rows(tmp_path / "ledger.jsonl")
    assert {row["why"] for row in ledger if row["event"] == "rejected"} == {"flat"}
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines
    figures = rows(tmp_path / "metrics.jsonl")
    assert sum(row["flat_groups_replaced"] for row in figures) == dropped / 2
    assert all(row["oversampling"] == 1 + row["flat_groups_replaced"] / 2 for row in figures)
    assert figures[0].keys() <= metrics.METRICS.keys()


def test_the_worked_example(tmp_path: Path):
    """Two groups a step, two in reserve; the first in reserve is flat as well.

    own: clamp/2 mixed, clamp/4 flat ─▶ reserve 0: clamp/1 flat ─▶ reserve 1: clamp/5 mixed
    """
    asked: list[str] = []

    def policy(request: RolloutRequest) -> str:
        ticket, rest = request.ticket, REFERENCE[len(request.given) :]
        asked.append(ticket.sample_id)
        wrong = ticket.problem_id in {"clamp/2", "clamp/5"} and ticket.sample_id.endswith("1")
        return (rest.replace("print(n)", "print(0)") if wrong else rest) + "```"

    run, batches = train(tmp_path, config(most=2, steps=1), policy=policy)

    rounds = [asked[:4], asked[4:6], asked[6:]]
    assert [sorted(ids) for ids in rounds] == [
        [f"s000000-000{group}-000{sample}" for group in (0, 1) for sample in (0, 1)],
        ["s000000-x0000-0000", "s000000-x0000-0001"],
        ["s000000-x0001-0000", "s000000-x0001-0001"],
    ]
    assert [(t.ticket.group, t.ticket.problem_id, t.reward) for t in batches[0]] == [
        ("s000000-0000", "clamp/2", 1.0),
        ("s000000-0000", "clamp/2", -0.3),
        ("s000000-x0001", "clamp/5", 1.0),
        ("s000000-x0001", "clamp/5", -0.3),
    ]
    assert run.book.fates == {Fate.TRAINED: 4, Fate.REJECTED: 4}
    figures = rows(tmp_path / "metrics.jsonl")[0]
    assert (figures["flat_groups_replaced"], figures["oversampling"]) == (2, 2.0)


@pytest.mark.parametrize(("staleness", "strict"), STALENESS)
def test_what_is_flat_when_the_reserve_is_used_up_is_trained(
    tmp_path: Path, staleness: int, strict: bool
):
    settings = config(staleness=staleness, strict=strict, most=1.5)
    run, batches = train(tmp_path, settings, policy=Scene.right)

    assert all(len(set(rewards)) == 1 for batch in batches for rewards in scores(batch).values())
    # one group in reserve for each step
    assert run.book.fates == {Fate.TRAINED: 24, Fate.REJECTED: 12}
    figures = rows(tmp_path / "metrics.jsonl")
    assert {row["oversampling"] for row in figures[1:-1]} == {1.5}
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines


def test_the_curriculum_counts_what_was_dropped(tmp_path: Path):
    settings = config(most=1.5, steps=1)
    run, batches = train(tmp_path, settings, policy=Scene.right)
    trained = {t.ticket.problem_id for t in batches[0]}
    moved = {problem for problem in run.problems if run.curriculum.start_point(problem).stage == 0}
    assert len(trained) == 2
    assert len(moved) == 3
    assert trained < moved


@pytest.mark.parametrize(("staleness", "strict"), [s for s in STALENESS if s != (1, False)])
def test_two_runs_are_equal_and_so_is_one_that_is_resumed_at_any_step(
    tmp_path: Path, staleness: int, strict: bool
):
    settings = config(staleness=staleness, strict=strict, checkpoint_every=1)
    run, batches = train(tmp_path / "first", settings)
    _, again = train(tmp_path / "second", settings)
    assert what(again) == what(batches)
    for step in range(1, 6):
        folder = tmp_path / f"resumed-{step}"
        shutil.copytree(tmp_path / "first", folder)
        for checkpoint in checkpoints(folder)[step:]:
            shutil.rmtree(checkpoint)
        resumed, rest = train(folder, settings, resume=True)
        assert what(rest) == what(batches)[step:]
        assert resumed.curriculum.state_dict() == run.curriculum.state_dict()
        assert resumed.book.fates == run.book.fates
        account = ledger_report.report(folder)
        assert account.balances, account.lines
        assert _repeatable(folder) == _repeatable(tmp_path / "first")


def _repeatable(folder: Path) -> list[dict[str, object]]:
    left_out = metrics.WALL_CLOCK | metrics.OF_THE_MOMENT
    return [
        {
            name: value
            for name, value in row.items()
            # fates are those of the moment too: rollouts run ahead
            if name not in left_out and not name.startswith("samples/")
        }
        for row in rows(folder / "metrics.jsonl")
    ]


def test_a_resumed_asynchronous_run_fills_its_steps(tmp_path: Path):
    settings = config(staleness=1, checkpoint_every=1, most=20)
    train(tmp_path, settings)
    for checkpoint in checkpoints(tmp_path)[2:]:
        shutil.rmtree(checkpoint)
    _, batches = train(tmp_path, settings, resume=True)
    assert len(batches) == 4
    for batch in batches:
        assert [len(set(rewards)) for rewards in scores(batch).values()] == [2, 2]
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines


def test_the_reserve_has_the_other_problems_first_and_each_step_its_own_order():
    order = ProblemOrder([f"p/{i}" for i in range(6)], seed=3, problems_per_step=2)
    first = [order.spare(0, number) for number in range(4)]
    assert sorted(first + order.of(0)) == sorted(order.problem_ids)
    assert [order.spare(0, number) for number in range(4, 8)] == first
    assert len({tuple(order.spare(step, n) for n in range(4)) for step in range(8)}) > 1
    alone = ProblemOrder(["p/0"], seed=3, problems_per_step=2)
    assert alone.spare(0, 5) == "p/0"


def test_a_group_in_place_of_another_is_sorted_after_the_steps_own_and_has_its_own_seeds(
    tmp_path: Path,
):
    _, batches = train(tmp_path, config(most=20))
    spare = [t.ticket for batch in batches for t in batch if is_spare(t.ticket.sample_id)]
    assert spare[0].sample_id.startswith(f"{spare[0].group}-")
    assert all(ticket.seed == sample_seed(0, ticket.sample_id) for ticket in spare)


def test_a_ledger_with_a_flat_group_that_nothing_replaced_does_not_balance(tmp_path: Path):
    train(tmp_path, config(most=20))
    ledger = rows(tmp_path / "ledger.jsonl")
    lost = next(row for row in ledger if row["event"] == "planned" and is_spare(row["samples"][0]))
    lost_ids = set(lost["samples"])
    kept = [row for row in ledger if row is not lost]
    for row in kept:
        if row.get("samples"):
            row["samples"] = [each for each in row["samples"] if each not in lost_ids]
    (tmp_path / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    account = ledger_report.report(tmp_path)
    assert not account.balances
    assert any("of groups that scored alike, and " in line for line in account.lines)
