"""Rollouts, learner and pushes at the same time: the bound, the lag, and who waits for whom."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from runs_for_tests import REFERENCE, config, problems, rows

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import Interrupted, SandboxFault, WeightPushError
from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.loop.fakes import ByteTokenizer, FakeLearner, FakeSampler
from stepcoder_dist.loop.metrics import OF_THE_MOMENT, WALL_CLOCK
from stepcoder_dist.records import (
    Completion,
    Outcome,
    RolloutRequest,
    StepReport,
    TestResult,
    TestSuite,
    Trajectory,
    Verdict,
    WeightSnapshot,
)
from stepcoder_dist.run import session
from stepcoder_dist.run.run_folder import RunFolder
from stepcoder_dist.run.sinks.metric_sinks import JsonLines
from stepcoder_dist.text.program import PromptWriter


class Timing:
    """Waits of a random number of turns of the event loop, from a seed; and a diary."""

    def __init__(self, seed: int, longest: int = 40) -> None:
        self._random = random.Random(seed)
        self._longest = longest
        self.diary: list[str] = []

    async def wait(self) -> None:
        # long tails: one in ten waits is eight times as long
        turns = self._random.randrange(self._longest) * (8 if self._random.random() < 0.1 else 1)
        for _ in range(turns):
            await asyncio.sleep(0)


class SlowSampler(FakeSampler):
    """Samples take their time, together; a push passes under them, as with `continue`."""

    def __init__(self, timing: Timing) -> None:
        super().__init__(lambda request: REFERENCE[len(request.given) :] + "```", width=2)
        self._timing = timing
        self.decoding = 0

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[Completion]:
        for request in share:
            self.decoding += 1
            completion = self._complete(request)  # by the weights that it begins with
            step = request.ticket.planned_step
            self._timing.diary.append(f"sample {step} by {completion.oldest_weights}")
            await self._timing.wait()
            self.decoding -= 1
            yield completion

    def start_update(self, version: int) -> None:
        self._timing.diary.append(f"push {version} into {self.decoding}")
        super().start_update(version)


class SlowSandbox:
    """Passes three problems of four, faults now and then, takes its time."""

    def __init__(self, timing: Timing, faults: float = 0.0) -> None:
        self._timing = timing
        self._random = random.Random(7)
        self._faults = faults

    async def judge(self, source: str, tests: TestSuite, *, problem_id: str) -> Verdict:
        del source
        await self._timing.wait()
        if self._random.random() < self._faults:
            raise SandboxFault("the engine is away")
        outcome = Outcome.WRONG_ANSWER if problem_id == "clamp/3" else Outcome.PASSED
        test = TestResult(outcome=outcome, executed_lines=frozenset({1}))
        return Verdict(
            outcome=outcome,
            tests=(test,) * len(tests),
            structure=None,
            coverage_trusted=False,
            wall_ms=1.0,
        )


class SlowLearner(FakeLearner):
    def __init__(self, timing: Timing) -> None:
        super().__init__()
        self._timing = timing

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        self._timing.diary.append(f"step {self._version} begins")
        await self._timing.wait()
        self._timing.diary.append(f"step {self._version} ends")
        return await super().step(batch)

    async def deliver(
        self, snapshot: WeightSnapshot, targets: Sequence[Any], *, deadline_s: float
    ) -> None:
        await self._timing.wait()
        await super().deliver(snapshot, targets, deadline_s=deadline_s)


class Play:
    """One run on slow fakes."""

    def __init__(
        self,
        path: Path,
        settings: RunConfig,
        seed: int,
        *,
        faults: float = 0.0,
        resume: bool = False,
    ) -> None:
        self.timing = Timing(seed)
        self.sampler = SlowSampler(self.timing)
        self.learner = SlowLearner(self.timing)
        pools = session.Pools(self.sampler, SlowSandbox(self.timing, faults))
        writer = PromptWriter(ByteTokenizer(), settings.prompt)
        self.run = session.compose(settings, problems(), writer, pools, self.learner)
        self._path = path
        self._resume = resume

    def train(self) -> None:
        async def scenario() -> None:
            with opened(self._path, self.run.config) as folder:
                if self._resume:
                    await session.restore(self.run, folder)
                sink = JsonLines(folder.path / "metrics.jsonl")
                async with asyncio.timeout(60):
                    await session.train(self.run, folder, [sink], Console(quiet=True))

        asyncio.run(scenario())

    @property
    def diary(self) -> list[str]:
        return self.timing.diary


@contextmanager
def opened(path: Path, settings: RunConfig) -> Iterator[RunFolder]:
    folder = RunFolder(path, settings)
    try:
        yield folder
    finally:
        folder.close()


def asynchronous(k: int, **changes: Any) -> RunConfig:
    return config(max_staleness=k, steps=changes.pop("steps", 8), **changes)


def lagging(k: int, **changes: Any) -> RunConfig:
    return asynchronous(k, **changes).model_copy(update={"deterministic": True})


@pytest.mark.parametrize("k", [0, 1, 2, 4])
@pytest.mark.parametrize("seed", range(6))
def test_no_token_is_trained_beyond_the_bound_and_no_sample_twice(
    tmp_path: Path, k: int, seed: int
) -> None:
    play = Play(tmp_path, asynchronous(k), seed, faults=0.05)
    play.train()
    batches = play.learner.batches
    assert len(batches) == 8
    for version, batch in enumerate(batches):
        assert len(batch) == 4
        assert all(version - k <= t.oldest_weights <= version for t in batch)
    ids = [t.ticket.sample_id for batch in batches for t in batch]
    assert len(set(ids)) == len(ids)
    places = Counter(t.ticket.group for batch in batches for t in batch)
    assert max(places.values()) == 2, "a group has two samples, however often one was replaced"
    book = play.run.book
    assert book.open_ids == frozenset()
    assert book.fates[Fate.TRAINED] == 32
    planned = {
        row["samples"][i]
        for row in rows(tmp_path / "ledger.jsonl")
        if row["event"] == "planned"
        for i in range(len(row["samples"]))
    }
    assert sum(book.fates.values()) == len(planned)


def test_staleness_is_used_where_it_is_allowed(tmp_path: Path) -> None:
    play = Play(tmp_path, asynchronous(2), seed=1)
    play.train()
    ages = {v - t.oldest_weights for v, batch in enumerate(play.learner.batches) for t in batch}
    assert ages > {0}
    begun = [i for i, line in enumerate(play.diary) if line.endswith("begins")]
    ended = [i for i, line in enumerate(play.diary) if line.endswith("ends")]
    meanwhile = [line for a, b in zip(begun, ended, strict=True) for line in play.diary[a:b]]
    assert any(line.startswith("sample") for line in meanwhile)
    assert any(line.startswith("push") for line in meanwhile), "the learner waits for no push"


class HeldLearner(FakeLearner):
    """Its deliveries wait until they may arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.may_arrive = asyncio.Event()
        self.delivered: list[int] = []
        self.error: Exception | None = None

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        report = await super().step(batch)
        if report.version == 3:
            self.may_arrive.set()
        return report

    async def deliver(
        self, snapshot: WeightSnapshot, targets: Sequence[Any], *, deadline_s: float
    ) -> None:
        if snapshot.version > 0:
            await self.may_arrive.wait()
            if self.error is not None:
                raise self.error
        await super().deliver(snapshot, targets, deadline_s=deadline_s)
        self.delivered.append(snapshot.version)


def test_a_delivery_that_is_late_is_followed_by_the_newest_and_not_by_those_between(
    tmp_path: Path,
) -> None:
    play = Play(tmp_path, asynchronous(4, steps=6), seed=2)
    learner = HeldLearner()
    play.run.learner = learner
    play.train()  # steps 1 to 3 need no push: the bound allows four versions
    assert learner.delivered[:3] == [0, 1, 3]
    assert learner.delivered[-1] == 6, "the last weights arrive before the run ends"


def test_a_delivery_that_fails_ends_the_run_with_its_name_and_the_steps_rows_are_there(
    tmp_path: Path,
) -> None:
    play = Play(tmp_path, asynchronous(4, steps=6), seed=2)
    learner = HeldLearner()
    learner.error = WeightPushError("version 1 did not reach 1 of 1: rollout-0")
    play.run.learner = learner
    with pytest.raises(WeightPushError, match="rollout-0"):
        play.train()
    assert [row["step"] for row in rows(tmp_path / "metrics.jsonl")][:3] == [1, 2, 3]
    assert play.run.book.open_ids == frozenset()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_in_a_strict_lag_each_step_is_sampled_by_the_one_version_that_is_k_behind(
    tmp_path: Path, k: int
) -> None:
    play = Play(tmp_path, lagging(k), seed=3)
    play.train()
    for step, batch in enumerate(play.learner.batches):
        made = {(t.ticket.planned_step, t.oldest_weights, t.newest_weights) for t in batch}
        version = max(0, step - k)
        assert made == {(step, version, version)}
    # engines are idle at a push, and have every step in the order of planning
    assert all(line.endswith("into 0") for line in play.diary if line.startswith("push"))
    steps = [int(line.split()[1]) for line in play.diary if line.startswith("sample")]
    assert steps == sorted(steps)


@pytest.mark.parametrize("k", [1, 2])
def test_in_a_strict_lag_the_engines_sample_the_next_steps_while_the_learner_steps(
    tmp_path: Path, k: int
) -> None:
    play = Play(tmp_path, lagging(k), seed=3)

    async def step(batch: Sequence[Trajectory]) -> StepReport:
        version = play.run.book.version
        # ends with the timeout of the run, where nothing overlaps
        while version + k < 8 and f"sample {version + k} by {version}" not in play.diary:
            await play.timing.wait()
        return await SlowLearner.step(play.learner, batch)

    play.learner.step = step  # type: ignore[method-assign]
    play.train()
    assert len(play.learner.batches) == 8


def results(path: Path) -> tuple[list[dict[str, Any]], str, dict[str, Any]]:
    """What must be equal: figures without clocks, samples.jsonl, the last checkpoint's state."""
    figures = [
        {name: value for name, value in row.items() if name not in WALL_CLOCK | OF_THE_MOMENT}
        for row in rows(path / "metrics.jsonl")
    ]
    newest = max((path / "checkpoints").iterdir())
    return (
        figures,
        (path / "samples.jsonl").read_text(),
        json.loads((newest / "run.json").read_text()),
    )


@pytest.mark.parametrize("k", [1, 2])
def test_in_a_strict_lag_timing_changes_nothing(tmp_path: Path, k: int) -> None:
    for seed in (10, 11, 12):
        Play(tmp_path / str(seed), lagging(k, checkpoint_every=3), seed).train()
    first, *others = (results(tmp_path / str(seed)) for seed in (10, 11, 12))
    assert len({row["mean_stage"] for row in first[0]}) > 1, "the curriculum moves"
    for other in others:
        assert other == first


def stop_at(play: Play, line: str) -> None:
    class Diary(list[str]):
        def append(self, entry: str) -> None:
            super().append(entry)
            if entry == line:
                play.run.stop.ask()

    play.timing.diary = Diary()


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize(
    "moment", ["sample 1 by 0", "step 1 begins", "step 3 ends", "sample 4", "push 3 into 0"]
)
def test_a_stop_anywhere_in_a_strict_lag_leaves_no_trace_after_the_resumption(
    tmp_path: Path, k: int, moment: str
) -> None:
    settings = lagging(k)
    Play(tmp_path / "whole", settings, 20).train()
    first = Play(tmp_path / "parts", settings, 21)
    stop_at(first, f"{moment} by {4 - k}" if moment == "sample 4" else moment)
    with pytest.raises(Interrupted) as stopped:
        first.train()
    resume = "continues at step" in str(stopped.value)
    assert resume != (moment == "sample 1 by 0")
    Play(tmp_path / "parts", settings, 22, resume=resume).train()
    assert results(tmp_path / "parts") == results(tmp_path / "whole")
    assert len(rows(tmp_path / "parts" / "samples.jsonl")) == 32


def test_a_crash_in_a_strict_lag_resumes_from_the_checkpoint_with_its_samples(
    tmp_path: Path,
) -> None:
    settings = lagging(2, checkpoint_every=3)
    Play(tmp_path / "whole", settings, 20).train()
    first = Play(tmp_path / "parts", settings, 21)

    async def crash(batch: Sequence[Trajectory]) -> StepReport:
        if first.run.book.version == 5:
            raise RuntimeError("the learner is gone")
        return await SlowLearner.step(first.learner, batch)

    first.learner.step = crash  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        first.train()
    held = json.loads((tmp_path / "parts/checkpoints/step_000003/ahead.json").read_text())
    assert sorted({row["ticket"]["planned_step"] for row in held}) == [3, 4]
    again = Play(tmp_path / "parts", settings, 22, resume=True)
    again.train()
    assert results(tmp_path / "parts") == results(tmp_path / "whole")
    assert not any(line.startswith(("sample 3", "sample 4")) for line in again.diary)
