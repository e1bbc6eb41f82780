"""Where samples of a group are compared, a step gets complete groups, and a group ends as one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from rich.console import Console
from runs_for_tests import Scene, config, problems, rows
from test_sample_book import ids, judged, request, started

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.loop.fakes import ByteTokenizer, FakeLearner, FakeSampler
from stepcoder_dist.loop.patience import Patience
from stepcoder_dist.loop.run import Run
from stepcoder_dist.loop.sample_book import SampleBook
from stepcoder_dist.records import TestSuite, Trajectory, Verdict
from stepcoder_dist.run import ledger_report, session
from stepcoder_dist.run.sinks.metric_sinks import JsonLines
from stepcoder_dist.text.program import PromptWriter


def book(*, capacity: int = 8, staleness: int = 0) -> SampleBook:
    return SampleBook(
        capacity=capacity,
        max_staleness=staleness,
        samples_per_group=2,
        patience=Patience(60),
        whole_groups=True,
    )


def test_a_step_takes_no_part_of_a_group_whatever_was_planned_first():
    async def scenario() -> None:
        opened = started(book(), "a-0", "a-1", "b-0", "b-1")
        for sample_id in ("a-0", "b-0", "b-1"):
            await opened.buffer(judged(sample_id))
        assert ids(await opened.take(2)) == ["b-0", "b-1"]
        taking = asyncio.create_task(opened.take(2))
        await asyncio.sleep(0)
        assert not taking.done()
        opened.lose("a-1")
        started(opened, "a-1+0001")
        await opened.buffer(judged("a-1+0001"))
        assert ids(await taking) == ["a-0", "a-1+0001"]

    asyncio.run(scenario())


def test_a_group_that_the_next_step_could_not_train_is_taken_before_those_planned_earlier():
    async def scenario() -> None:
        opened = started(book(staleness=1), "a-0", "a-1", "b-0", "b-1")
        opened.version = 1
        for sample_id, weights in {"a-0": 1, "a-1": 1, "b-0": 1, "b-1": 0}.items():
            assert await opened.buffer(judged(sample_id, weights=weights))
        assert ids(await opened.take(2)) == ["b-0", "b-1"]

    asyncio.run(scenario())


def test_a_dropped_group_is_rejected_wherever_its_samples_are():
    async def scenario() -> None:
        opened = started(book(capacity=1), "a-0", "a-1", "b-0", "b-1")
        await opened.buffer(judged("a-0"))
        waiting = asyncio.create_task(opened.buffer(judged("b-0")))
        await asyncio.sleep(0)
        gone = opened.drop_group("b", "group_lost")
        assert [ticket.sample_id for ticket in gone] == ["b-0", "b-1"]
        opened.publish(0)  # a change, on which waits look again
        assert await waiting, "nothing has to take its place"
        assert "b-1" not in opened
        assert opened.open_ids == {"a-0", "a-1"}
        ends = opened.account.take().ended
        assert [(end.sample_id, end.why) for end in ends] == [
            ("b-0", "group_lost"),
            ("b-1", "group_lost"),
        ]

    asyncio.run(scenario())


def test_what_an_older_version_left_of_a_group_is_as_much_as_there_will_be():
    async def scenario() -> None:
        opened = book()
        opened.plan(0, [[request("a-0").ticket, request("b-0").ticket, request("b-1").ticket]])
        again = book()
        again.restore(opened.snapshot())
        again.start(request(sample_id) for sample_id in ("a-0", "b-0", "b-1"))
        for sample_id in ("a-0", "b-0"):
            await again.buffer(judged(sample_id))
        assert ids(await again.take(1)) == ["a-0"]

    asyncio.run(scenario())


class History:
    """A book of groups of two, and what may happen to it."""

    def __init__(self, staleness: int) -> None:
        self.book = book(capacity=12, staleness=staleness)
        self.under_way: list[str] = []
        self._too_old = staleness + 1
        self._groups = self._replaced = 0

    async def plan(self) -> None:
        if len(self.book.open_ids) <= 10:
            new = [f"{self._groups:04d}-{sample}" for sample in (0, 1)]
            self._groups += 1
            self.under_way += new
            started(self.book, *new)

    async def lose(self) -> None:
        if self.under_way:
            lost = self.under_way.pop(0)
            self.book.lose(lost)
            self._again(lost)

    async def judge(self, older: int = 0) -> None:
        if self.under_way:
            done = self.under_way.pop(len(self.under_way) // 2)
            if not await self.book.buffer(judged(done, weights=self.book.version - older)):
                self._again(done)

    async def judge_late(self) -> None:
        await self.judge(self._too_old)

    async def drop(self) -> None:
        if self.under_way:
            gone = self.book.drop_group(self.under_way[0].partition("-")[0], "group_lost")
            gone_ids = {ticket.sample_id for ticket in gone}
            self.under_way = [each for each in self.under_way if each not in gone_ids]

    async def train(self) -> None:
        if len(self.book._next.of(2, None, urgent=0)) == 2:
            batch = await self.book.take(2)
            assert len({each.request.ticket.group for each in batch}) == 1
            assert len(self.book.trained(batch, self.book.version + 1)) == 1
            for stale in self.book.refuse_stale():
                self._again(stale.ticket.sample_id)

    def _again(self, sample_id: str) -> None:
        self._replaced += 1
        self.under_way.append(f"{sample_id.partition('+')[0]}+{self._replaced}")
        started(self.book, self.under_way[-1])


MOVES = (History.plan, History.judge, History.lose, History.judge_late, History.drop, History.train)


@given(st.lists(st.sampled_from(MOVES), max_size=80), st.integers(0, 2))
def test_whatever_happens_a_step_trains_complete_groups_only(
    moves: list[Callable[[History], Coroutine[Any, Any, None]]], staleness: int
):
    async def scenario() -> None:
        history = History(staleness)
        for move in moves:
            await move(history)
            there = len(history.book.open_ids) - len(history.under_way)
            assert history.book.buffered == there
        trained: Counter[str] = Counter()
        for end in history.book.account.take().ended:
            trained[end.sample_id.partition("-")[0]] += end.fate == Fate.TRAINED
        assert set(trained.values()) <= {0, 2}

    asyncio.run(scenario())


# ---------------------------------------------------------------- a run


class Fails:
    """An executor that has no verdict for chosen calls on chosen problems."""

    def __init__(self, real: object, problem_id: str, calls: range) -> None:
        self._real = real
        self._problem_id = problem_id
        self._calls = calls
        self._judged = 0

    async def judge(self, source: str, tests: TestSuite, *, problem_id: str) -> Verdict:
        if problem_id == self._problem_id:
            self._judged += 1
            if self._judged in self._calls:
                raise SandboxFault("the engine is away")
        return await self._real.judge(source, tests, problem_id=problem_id)  # type: ignore[attr-defined]


def grpo(*, staleness: int, **sandbox: object) -> RunConfig:
    settings = config(max_staleness=staleness)
    tree = settings.model_dump()
    tree["learner"] |= {"advantage": "grpo"}
    tree["sandbox"] |= sandbox
    return RunConfig.model_validate(tree)


def train(path: Path, settings: RunConfig, calls: range) -> tuple[Run, list[list[Trajectory]]]:
    scene, learner = Scene(path, settings), FakeLearner()
    sandbox = Fails(scene.run.sandbox, "clamp/1", calls)
    pools = session.Pools(FakeSampler(Scene.right, width=2), sandbox)
    writer = PromptWriter(ByteTokenizer(), settings.prompt)
    run = session.compose(settings, problems(), writer, pools, learner)
    sinks = [JsonLines(path / "metrics.jsonl")]
    asyncio.run(session.train(run, scene.folder, sinks, Console(quiet=True)))
    scene.close()
    return run, [list(batch) for batch in learner.batches]


def sizes(batch: list[Trajectory]) -> Counter[str]:
    return Counter(trajectory.ticket.group for trajectory in batch)


@pytest.mark.parametrize("staleness", [0, 1])
def test_a_group_that_keeps_losing_samples_is_dropped_whole_and_another_problem_takes_its_place(
    tmp_path: Path, staleness: int, caplog: pytest.LogCaptureFixture
):
    # the first sample of the problem has a verdict, the next ones have none
    settings = grpo(staleness=staleness, group_losses=2)
    run, batches = train(tmp_path, settings, range(2, 4))

    assert len(batches) == 4
    assert all(set(sizes(batch).values()) == {2} for batch in batches)
    for batch in batches:
        asked = {(t.ticket.group, t.ticket.problem_id) for t in batch}
        assert len(asked) == len(sizes(batch)), "a group is of one problem"
    ledger = rows(tmp_path / "ledger.jsonl")
    assert [row["why"] for row in ledger if row["event"] == "rejected"] == ["group_lost"]
    assert run.book.fates[Fate.REJECTED] == 1
    assert run.book.fates[Fate.FAULT] == 2
    assert run.book.fates[Fate.TRAINED] == 16
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines
    assert "of problem clamp/1 is dropped with 2 samples" in caplog.text


@pytest.mark.parametrize("staleness", [0, 1])
def test_the_groups_of_a_quarantined_problem_are_dropped_whole(tmp_path: Path, staleness: int):
    settings = grpo(staleness=staleness, quarantine_after=3)
    run, batches = train(tmp_path, settings, range(2, 10_000))

    assert all(set(sizes(batch).values()) == {2} for batch in batches)
    trained = {t.ticket.problem_id for batch in batches for t in batch}
    assert trained == {"clamp/0", "clamp/2", "clamp/3"}
    assert run.book.fates[Fate.TRAINED] == 16
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines


def test_a_sample_that_is_lost_now_and_then_is_sampled_again_and_completes_its_group(
    tmp_path: Path,
):
    run, batches = train(tmp_path, grpo(staleness=1), range(1, 3))
    assert all(set(sizes(batch).values()) == {2} for batch in batches)
    assert run.book.fates[Fate.FAULT] == 2
    assert run.book.fates[Fate.REJECTED] == 0
